"""Ordinary training on one signal or several."""
