"""Trained networks in a folder: their files, the manifest, the ensemble, reference answers."""
