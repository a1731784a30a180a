"""Second derivatives of the squared error by kernels, for engines whose ``hessian_vector`` names them.

The Hessian of the squared error times a direction, from which the meta-gradient of learning to learn is made. Beside
every number of a pass goes its derivative along the direction (Pearlmutter, "Fast exact multiplication by the Hessian",
1994).
"""

from partinr.engines.curvature.fused import fused_curvature
from partinr.engines.curvature.tiled import tiled_curvature

__all__ = ["fused_curvature", "tiled_curvature"]
