"""The stack: N small networks of one architecture, evaluated on samples sorted by network."""

from partinr.stack.batch import RegionBatch, sort_by_network
from partinr.stack.engine import ENGINES, Engine, Plan, make_plan, run_stack

__all__ = ["ENGINES", "Engine", "Plan", "RegionBatch", "make_plan", "run_stack", "sort_by_network"]
