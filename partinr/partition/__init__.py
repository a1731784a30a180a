"""Partition rules: from a signal to a region for every sample."""

from partinr.partition.adaptive import Adaptive
from partinr.partition.base import Partition, PartitionRule
from partinr.partition.cache import LabelCache, make
from partinr.partition.cover import Cover
from partinr.partition.cuts import Cuts
from partinr.partition.experts import Experts
from partinr.partition.gate import Gate, GatedRule
from partinr.partition.grid import Grid
from partinr.partition.kmeans import KMeans
from partinr.partition.live import Change, Live
from partinr.partition.mask import Mask
from partinr.partition.octree import Octree
from partinr.partition.onsets import Onsets
from partinr.partition.random import Random
from partinr.partition.segmentation import ImageSegmentation, Segmentation, SignalSegmentation
from partinr.partition.semantic import Semantic
from partinr.partition.shots import Shots
from partinr.partition.silence import Silence
from partinr.partition.smp import Smp
from partinr.partition.soft_cells import SoftCells
from partinr.partition.superpixel import Superpixel
from partinr.partition.whole import Whole

__all__ = [
    "Adaptive",
    "Change",
    "Cover",
    "Cuts",
    "Experts",
    "Gate",
    "GatedRule",
    "Grid",
    "ImageSegmentation",
    "KMeans",
    "LabelCache",
    "Live",
    "Mask",
    "Octree",
    "Onsets",
    "Partition",
    "PartitionRule",
    "Random",
    "Segmentation",
    "Semantic",
    "Shots",
    "SignalSegmentation",
    "Silence",
    "Smp",
    "SoftCells",
    "Superpixel",
    "Whole",
    "make",
]
