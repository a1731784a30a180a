"""Signals from the config, and LightningDataModules over them."""

from partinr.data.folder import FolderData, ImageItem
from partinr.data.image import ImageData
from partinr.data.sets import Item, SignalSet
from partinr.data.ticks import SignalDataModule

__all__ = ["FolderData", "ImageData", "ImageItem", "Item", "SignalDataModule", "SignalSet"]
