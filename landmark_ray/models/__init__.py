"""The Keras networks: trunks, heads, augmentation, and what training them needs.

`options` has what a configuration needs to know, and doesn't import Keras; the other modules do.
"""
