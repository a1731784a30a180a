"""What is fitted: values on a regular grid, from a file, from scikit-image, or from the caller."""

from partinr.signals.detail import gradient_energy, region_detail
from partinr.signals.edges import EdgedImage, edge_pixels
from partinr.signals.image import Crop, builtin_image, builtin_names, builtin_path, check_image, load_image
from partinr.signals.smooth import smooth_signal
from partinr.signals.source import Source
from partinr.signals.steps import StepSignal, step_signal
from partinr.signals.text import text_image

__all__ = [
    "Crop",
    "EdgedImage",
    "Source",
    "StepSignal",
    "builtin_image",
    "builtin_names",
    "builtin_path",
    "check_image",
    "edge_pixels",
    "gradient_energy",
    "load_image",
    "region_detail",
    "smooth_signal",
    "step_signal",
    "text_image",
]
