"""The stack: N small networks of one architecture, evaluated on samples sorted by network."""

from partinr.engines.compiled import compile_network
from partinr.engines.curvature.tiled import curvature, has_curvature
from partinr.engines.fused import Chain, Link, check_fused, fused_error, fuses, run_fused
from partinr.engines.grouped import check_grouped, groups, run_grouped
from partinr.engines.plan import ENGINES, Engine, Network, Plan, make_plan, run_stack
from partinr.engines.tcnn import Tables, check_tables, check_tcnn, check_tcnn_device, run_tcnn, takes_tables
from partinr.engines.tiled import run_tiled, tiled_error, tiles

__all__ = [
    "ENGINES",
    "Chain",
    "Engine",
    "Link",
    "Network",
    "Plan",
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
    "run_fused",
    "run_grouped",
    "run_stack",
    "run_tcnn",
    "run_tiled",
    "takes_tables",
    "tiled_error",
    "tiles",
]
