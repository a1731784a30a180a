"""The stack: N small networks of one architecture, evaluated on samples sorted by network."""

from partinr.stack.batch import RegionBatch, mix, sort_by_network
from partinr.stack.compiled import compile_network
from partinr.stack.curved import curvature, has_curvature
from partinr.stack.engine import ENGINES, Engine, Network, Plan, make_plan, run_stack
from partinr.stack.fused import Chain, Link, check_fused, fused_error, fuses, run_fused
from partinr.stack.grouped import check_grouped, groups, run_grouped
from partinr.stack.tcnn import Tables, check_tables, check_tcnn, check_tcnn_device, run_tcnn, takes_tables
from partinr.stack.tiled import run_tiled, tiled_error, tiles

__all__ = [
    "ENGINES",
    "Chain",
    "Engine",
    "Link",
    "Network",
    "Plan",
    "RegionBatch",
    "Tables",
    "check_fused",
    "check_grouped",
    "check_tables",
    "check_tcnn",
    "check_tcnn_device",
    "compile_network",
    "curvature",
    "fused_error",
    "fuses",
    "groups",
    "has_curvature",
    "make_plan",
    "mix",
    "run_fused",
    "run_grouped",
    "run_stack",
    "run_tcnn",
    "run_tiled",
    "sort_by_network",
    "takes_tables",
    "tiled_error",
    "tiles",
]
