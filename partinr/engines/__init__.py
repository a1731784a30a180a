"""Engines: how a stack of N networks is evaluated. :mod:`partinr.engines.registry` lists them and chooses."""

from typing import Literal

EngineName = Literal["auto", "loop", "batched", "fused", "tiled", "compiled"]
"""Values of ``engine=``: ``auto``, or the name of an engine in the registry."""
