"""The Keras networks: trunks, heads, augmentation and the training loop.

`specs` has the names and options that configurations need, and does not import Keras.
"""
