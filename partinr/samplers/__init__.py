"""Samplers: which samples the steps of a fit see."""

from partinr.samplers.base import Draws, Look, Pool, Sampler
from partinr.samplers.edges import Edges
from partinr.samplers.error import Error
from partinr.samplers.evos import Evos
from partinr.samplers.expansive import Expansive
from partinr.samplers.kernel_teaching import Nint
from partinr.samplers.ranked import Ranked, Watching
from partinr.samplers.teaching import Int
from partinr.samplers.uniform import Uniform
from partinr.samplers.weighted import Weighted

__all__ = [
    "Draws",
    "Edges",
    "Error",
    "Evos",
    "Expansive",
    "Int",
    "Look",
    "Nint",
    "Pool",
    "Ranked",
    "Sampler",
    "Uniform",
    "Watching",
    "Weighted",
]
