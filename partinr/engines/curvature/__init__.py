"""Kernels for second derivatives of the squared error, which engines provide as ``hessian_vector``.

They compute the Hessian of the squared error times a direction, which the meta-gradient of learning to learn needs.
Each number of a pass is accompanied by its derivative along the direction (Pearlmutter, "Fast exact multiplication by
the Hessian", 1994).
"""

from partinr.engines.curvature.fused import fused_curvature
from partinr.engines.curvature.tiled import tiled_curvature

__all__ = ["fused_curvature", "tiled_curvature"]
