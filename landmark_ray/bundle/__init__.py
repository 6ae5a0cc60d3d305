"""Trained networks in a folder: files, manifest, the ensemble, reference answers."""
