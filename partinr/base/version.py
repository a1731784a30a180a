"""The version of the package. A module of its own, so that it can be read without importing anything else."""

__version__ = "0.3.0"
