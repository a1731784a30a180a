"""Backbones: coordinate networks, each written once for one network and for a stack of them."""

from partinr.backbones.base import Backbone, Mlp, load_backbone
from partinr.backbones.relu_pe import ReluPE
from partinr.backbones.siren import Siren

__all__ = ["Backbone", "Mlp", "ReluPE", "Siren", "load_backbone"]
