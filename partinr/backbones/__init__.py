"""Backbones: coordinate networks. The same code evaluates one network or a stack."""

from partinr.backbones.base import Backbone, Mlp
from partinr.backbones.bicubic import Bicubic
from partinr.backbones.diner import Diner
from partinr.backbones.finer import Finer
from partinr.backbones.fourier import Fourier
from partinr.backbones.gauss import Gauss
from partinr.backbones.hash_grid import HashGrid
from partinr.backbones.incode import Incode
from partinr.backbones.mfn import Mfn
from partinr.backbones.named import backbone_name, class_path, load_backbone
from partinr.backbones.relu_pe import ReluPE
from partinr.backbones.siren import Siren
from partinr.backbones.sl2a import Sl2a
from partinr.backbones.staf import Staf
from partinr.backbones.wire import Wire

__all__ = [
    "Backbone",
    "Bicubic",
    "Diner",
    "Finer",
    "Fourier",
    "Gauss",
    "HashGrid",
    "Incode",
    "Mfn",
    "Mlp",
    "ReluPE",
    "Siren",
    "Sl2a",
    "Staf",
    "Wire",
    "backbone_name",
    "class_path",
    "load_backbone",
]
