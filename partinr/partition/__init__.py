"""Partition rules: from a signal to a region for every sample."""

from partinr.partition.base import Partition, PartitionRule
from partinr.partition.cache import LabelCache, make
from partinr.partition.cover import Cover
from partinr.partition.grid import Grid
from partinr.partition.kmeans import KMeans
from partinr.partition.mask import Mask
from partinr.partition.random import Random
from partinr.partition.segmentation import ImageSegmentation, Segmentation, SignalSegmentation
from partinr.partition.semantic import Semantic
from partinr.partition.smp import Smp
from partinr.partition.superpixel import Superpixel
from partinr.partition.whole import Whole

__all__ = [
    "Cover",
    "Grid",
    "ImageSegmentation",
    "KMeans",
    "LabelCache",
    "Mask",
    "Partition",
    "PartitionRule",
    "Random",
    "Segmentation",
    "Semantic",
    "SignalSegmentation",
    "Smp",
    "Superpixel",
    "Whole",
    "make",
]
