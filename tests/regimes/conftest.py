"""A small fit on the CPU, and a clock that a test turns by hand."""

from tests.small_fits import clock, signal, small_fit

__all__ = ["clock", "signal", "small_fit"]
