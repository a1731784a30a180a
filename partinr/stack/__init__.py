"""The stack: N small networks of one architecture, evaluated on samples sorted by network."""

from partinr.stack.batch import RegionBatch, sort_by_network
from partinr.stack.engine import ENGINES, Engine, Plan, make_plan, run_stack
from partinr.stack.fused import FUSED_UP_TO, Chain, Link, can_fuse, run_fused, widest

__all__ = [
    "ENGINES",
    "FUSED_UP_TO",
    "Chain",
    "Engine",
    "Link",
    "Plan",
    "RegionBatch",
    "can_fuse",
    "make_plan",
    "run_fused",
    "run_stack",
    "sort_by_network",
    "widest",
]
