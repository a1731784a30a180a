"""Starts: how the networks of a fit begin."""

from partinr.regimes.starts.base import Fitted, Random, Start
from partinr.regimes.starts.learned import Learned
from partinr.regimes.starts.noise import Noise
from partinr.regimes.starts.pretrained import Pretrained, Task
from partinr.regimes.starts.shared import Shared

__all__ = ["Fitted", "Learned", "Noise", "Pretrained", "Random", "Shared", "Start", "Task"]
