"""Lightning callbacks that keep a run: curve, pictures, checkpoints, manifest, progress.

They know a regime through Lightning's hooks and the attributes of a protocol (:class:`~partinr.callbacks.base.Regime`).
"""

from partinr.callbacks.base import RunCallback
from partinr.callbacks.checkpoint import LastCheckpoint
from partinr.callbacks.curve import CurveFile
from partinr.callbacks.header import Header
from partinr.callbacks.interruption import Interruption
from partinr.callbacks.logged import LoggedFile
from partinr.callbacks.manifest import Manifest
from partinr.callbacks.pictures import Pictures
from partinr.callbacks.progress import Progress

__all__ = [
    "CurveFile",
    "Header",
    "Interruption",
    "LastCheckpoint",
    "LoggedFile",
    "Manifest",
    "Pictures",
    "Progress",
    "RunCallback",
]
