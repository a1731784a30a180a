"""What is fitted: values on a regular grid, from a file, from scikit-image, or from the caller."""

from partinr.signals.image import builtin_image, builtin_names, check_image, load_image

__all__ = ["builtin_image", "builtin_names", "check_image", "load_image"]
