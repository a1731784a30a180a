"""Settings of the ordinary regime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import ASIDE, spec
from partinr.coords import Layout
from partinr.partition import Partition
from partinr.regimes.base import RegimeSettings
from partinr.training.loss import sample_weights


@spec
class FitSettings(RegimeSettings):
    """How the ordinary regime trains, and when it is evaluated.

    Attributes:
        loss: ``image``: the mean squared error over all samples, so that every pixel counts alike (the paper's).
            ``region``: the mean over regions of each region's own mean, so that every region counts alike and a pixel
            of a small one counts more. With Adam the two differ little, since Adam cancels the scale of a network's
            loss. With several images each has its own loss, so a network does not depend on the other images.
        border_weight: weight in the loss of a sample near a border between regions, above 0; other samples have weight
            1. The weights are then divided by their mean over the image (with ``loss=region``, over the region), so
            that the loss keeps its scale and the learning rate its meaning. The steps of ``init_steps`` ignore it.
        border_width: a sample is near a border if another region is within this many samples along an axis.
        points_per_step: samples drawn for each step, from all signals together, by the sampler of the fit
            (:mod:`partinr.samplers`); None for the sampler's own fraction of the samples.
        sampling: ``error`` is the older way to say ``sampler=error``, and goes in 0.5.
        jitter: move each drawn sample to a random place in its cell, where its target is interpolated between the
            samples, so that the fit sees the signal off its grid, too (:class:`Jitter
            <partinr.training.jitter.Jitter>`).
        coarse_until: the fraction of the run, from its beginning, in which each step sees every second sample along
            each axis; such lattices take turns (:class:`CoarseToFine <partinr.training.sampling.CoarseToFine>`). 0 for
            all samples in every step.
        evaluate_every: steps between evaluations; None for a geometric sequence.
        evaluations_per_decade: evaluations in the geometric sequence while the steps grow tenfold.
        evaluate_at: further steps at which to evaluate.
        collapse_db: the run fails if its PSNR stays this many dB below its best for three evaluations in a row; None to
            continue regardless.
        freeze_at_psnr: a region is finished once its PSNR reaches this value in dB at an evaluation. Its network keeps
            its weights and costs nothing from then on (like the blocks of Saragadam et al., "MINER", 2022). The run
            ends when all regions are finished. None to train every region to the end.
        total_variation: weight in the loss of the mean length of the gradient, by differences of neighbouring samples.
            This is a prior for signals of which little or only noise is seen. It needs the values of all samples in
            each step. None for no prior.
        begin_at_mean: set the bias of each output layer so that the network's values begin around the mean of its
            region instead of 0. This saves steps. The papers of the backbones draw that bias at random.
    """

    kind: ClassVar[str] = "fit"
    builder: ClassVar[str] = "partinr.regimes.fit.build:fit_module"
    blends: ClassVar[bool] = True
    gates: ClassVar[bool] = True
    observes: ClassVar[bool] = True
    draws: ClassVar[bool] = True
    starts: ClassVar[bool] = True
    lives: ClassVar[bool] = True
    probes: ClassVar[bool] = True
    layouts: ClassVar[tuple[Layout, ...]] = get_args(Layout)

    loss: Literal["image", "region"] = "image"
    border_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    border_width: Annotated[int, Field(ge=1)] = 2
    points_per_step: Annotated[int, Field(ge=1)] | None = None
    sampling: Literal["uniform", "error"] = "uniform"
    jitter: bool = False
    coarse_until: Annotated[float, Field(ge=0, le=1)] = 0.0
    evaluate_every: Annotated[Annotated[int, Field(ge=1)] | None, ASIDE] = None
    evaluations_per_decade: Annotated[int, Field(ge=1, le=100), ASIDE] = 20
    evaluate_at: Annotated[list[Annotated[int, Field(ge=1)]], ASIDE] = Field(default_factory=list)
    collapse_db: Annotated[Annotated[float, Field(gt=0)] | None, ASIDE] = 10.0
    freeze_at_psnr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    total_variation: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    begin_at_mean: bool = False

    def __post_init__(self) -> None:
        """Check that the options are compatible.

        Raises:
            PartinrError: points are drawn, and taken in turns.
        """
        if self.coarse_until and self.points_per_step is not None:
            raise PartinrError(
                f"regime.coarse_until={self.coarse_until:g} takes the points of a step in turns, and "
                f"regime.points_per_step={self.points_per_step} draws them; give regime.coarse_until=0, or "
                "regime.points_per_step=null"
            )

    def sample_weights(self, partitions: Sequence[Partition], seed: int) -> Tensor | None:
        """The weight of each sample in the loss.

        A regime that weighs samples in another way overrides this; what is hidden follows from the group ``observe``. A
        sample of weight 0 does not enter the loss, but metrics still include it.

        Args:
            partitions: partition of each signal.
            seed: seed of the run.

        Returns:
            float32 ``[M, 1]`` over all samples, sorted by signal, each row-major, with mean 1; None if all weights are
            1.
        """
        return sample_weights(
            partitions,
            by_region=self.loss == "region",
            border_weight=self.border_weight,
            border_width=self.border_width,
        )
