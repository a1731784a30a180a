"""Partition rules: from a signal to a region for every sample."""

from partinr.partition.base import Partition, PartitionRule
from partinr.partition.grid import Grid
from partinr.partition.whole import Whole

__all__ = ["Grid", "Partition", "PartitionRule", "Whole"]
