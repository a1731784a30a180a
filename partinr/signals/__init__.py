"""Signals: values on a regular grid from a file, a package, the caller or a generator, and sets of them."""

from partinr.signals.audio_data import AudioData
from partinr.signals.celeba import CelebaData
from partinr.signals.detail import gradient_energy, region_detail
from partinr.signals.edges import EdgedImage, edge_pixels
from partinr.signals.film import FilmData, film
from partinr.signals.folder import FolderData, ImageItem
from partinr.signals.given import Given, signal_from
from partinr.signals.image import Crop, builtin_image, builtin_names, builtin_path, check_image, load_image
from partinr.signals.image_data import ImageData
from partinr.signals.lsun import LsunData
from partinr.signals.phantom import PhantomData, shepp_logan
from partinr.signals.sdf import SdfData
from partinr.signals.sets import Item, SignalSet, SingleSignal
from partinr.signals.smooth import SmoothData, smooth_signal
from partinr.signals.sounds import MelodiesData, SoundItem, SoundsData
from partinr.signals.source import Source
from partinr.signals.step_functions import StepItem, StepsData, StepSignal, step_signal
from partinr.signals.text import TextData, text_image
from partinr.signals.video import load_video
from partinr.signals.video_data import VideoData
from partinr.signals.volume import VolumeData

__all__ = [
    "AudioData",
    "CelebaData",
    "Crop",
    "EdgedImage",
    "FilmData",
    "FolderData",
    "Given",
    "ImageData",
    "ImageItem",
    "Item",
    "LsunData",
    "MelodiesData",
    "PhantomData",
    "SdfData",
    "SignalSet",
    "SingleSignal",
    "SmoothData",
    "SoundItem",
    "SoundsData",
    "Source",
    "StepItem",
    "StepSignal",
    "StepsData",
    "TextData",
    "VideoData",
    "VolumeData",
    "builtin_image",
    "builtin_names",
    "builtin_path",
    "check_image",
    "edge_pixels",
    "film",
    "gradient_energy",
    "load_image",
    "load_video",
    "region_detail",
    "shepp_logan",
    "signal_from",
    "smooth_signal",
    "step_signal",
    "text_image",
]
