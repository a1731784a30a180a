"""Studies: statistical tests of claims over many runs.

They only read run directories.
"""

from partinr.studies.growth import Fit, Growth, Trials, fit_laws
from partinr.studies.hypothesis import Setting, settings_of
from partinr.studies.picture import write_growth

__all__ = ["Fit", "Growth", "Setting", "Trials", "fit_laws", "settings_of", "write_growth"]
