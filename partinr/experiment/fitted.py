"""The signal that a run fitted, to compare its fit with."""

from __future__ import annotations

import numpy as np

from partinr.base.errors import PartinrError
from partinr.experiment.make import make
from partinr.model.inr import PiecewiseINR
from partinr.runs.directory import RunDirectory
from partinr.runs.fitted import fitted_image
from partinr.signals import SignalSet


def fitted_signal(run: RunDirectory, name: str | None, model: PiecewiseINR) -> np.ndarray:
    """The signal that a run fitted: of an image its 8-bit picture, of others what the run's ``data`` reads.

    Args:
        run: the run directory.
        name: name of one signal of a run with several.
        model: its fit.

    Returns:
        float32 ``[*grid, C]`` in [0, 1].

    Raises:
        PartinrError: the signal is missing, damaged, or was replaced.
    """
    shape = (*model.partition.shape, model.channels)
    if model.kind(0).is_picture and model.channels in (1, 3):
        return fitted_image(run, name, shape)
    data: SignalSet = make(run.config().get("data"), "data", SignalSet)
    item = next((item for item in data.train() if item.name == (name or "")), None)
    if item is None:
        raise PartinrError(f"the signal that {run.path} fitted is gone; put it back where the run's data names it")
    values: np.ndarray = item.read().values.numpy()
    if values.shape != shape:
        raise PartinrError(
            f"the signal has the shape {list(values.shape)}, but {run.path} fitted {list(shape)}; was it replaced?"
        )
    return values
