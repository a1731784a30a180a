"""The public home of :func:`spec`, the decorator for settings classes.

The code is in :mod:`partinr.base.spec`. Plug-ins import ``partinr.spec``, which stays where it is however the
package is arranged inside.
"""

from partinr.base.spec import ASIDE, READS, describe, spec

__all__ = ["ASIDE", "READS", "describe", "spec"]
