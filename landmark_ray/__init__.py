"""Recognise landmarks at Google-Landmarks scale, on Ray."""
