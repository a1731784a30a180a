"""Studies: what many runs say together about a claim, with statistics.

They read run directories and nothing else.
"""

from partinr.studies.growth import Fit, Growth, Trials, fit_laws
from partinr.studies.hypothesis import Setting, settings_of
from partinr.studies.picture import write_growth

__all__ = ["Fit", "Growth", "Setting", "Trials", "fit_laws", "settings_of", "write_growth"]
