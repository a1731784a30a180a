"""Backbones: coordinate networks. The same code evaluates one network or a stack."""

from partinr.backbones.base import Backbone, Mlp
from partinr.backbones.bicubic import Bicubic
from partinr.backbones.finer import Finer
from partinr.backbones.fourier import Fourier
from partinr.backbones.gauss import Gauss
from partinr.backbones.hash_grid import HashGrid
from partinr.backbones.mfn import Mfn
from partinr.backbones.named import backbone_name, class_path, load_backbone
from partinr.backbones.relu_pe import ReluPE
from partinr.backbones.siren import Siren
from partinr.backbones.wire import Wire

__all__ = [
    "Backbone",
    "Bicubic",
    "Finer",
    "Fourier",
    "Gauss",
    "HashGrid",
    "Mfn",
    "Mlp",
    "ReluPE",
    "Siren",
    "Wire",
    "backbone_name",
    "class_path",
    "load_backbone",
]
