"""Ordinary learning of a signal, or of several."""
