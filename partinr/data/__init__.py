"""Signals from the config, and LightningDataModules over them."""

from partinr.data.folder import FolderData, ImageItem
from partinr.data.image import ImageData
from partinr.data.lsun import LsunData
from partinr.data.prepare import Prepared, prepare_partitions
from partinr.data.sets import Item, SignalSet
from partinr.data.smooth import SmoothData
from partinr.data.steps import StepItem, StepsData
from partinr.data.tasks import MetaBatches, Task, TaskDataModule, TaskSet, check_ranks
from partinr.data.text import TextData

__all__ = [
    "FolderData",
    "ImageData",
    "ImageItem",
    "Item",
    "LsunData",
    "MetaBatches",
    "Prepared",
    "SignalSet",
    "SmoothData",
    "StepItem",
    "StepsData",
    "Task",
    "TaskDataModule",
    "TaskSet",
    "TextData",
    "check_ranks",
    "prepare_partitions",
]
