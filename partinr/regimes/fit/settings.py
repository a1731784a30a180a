"""Settings of the ordinary regime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import ASIDE, spec
from partinr.partition import Partition
from partinr.regimes.base import RegimeSettings
from partinr.training.loss import sample_weights


@spec
class FitSettings(RegimeSettings):
    """How the ordinary regime learns, and when it is evaluated.

    Attributes:
        loss: ``image``: the mean squared error over all samples, so that every pixel counts alike (the paper's).
            ``region``: the mean over regions of each region's own mean, so that every region counts alike and a pixel
            of a small one counts more. With Adam the two differ little, since a network's own scale cancels. Each of
            several images has its own loss, and what a network learns does not depend on the other images.
        border_weight: weight in the loss of a sample near a border between regions; those inside have weight 1. Above
            0. The weights are then divided by their mean, over the image (over the region with ``loss=region``), so
            that the loss keeps its scale, and a learning rate its meaning. The steps of ``init_steps`` ignore it.
        border_width: near is what has another region within so many samples along the axes.
        points_per_step: samples drawn for each step, evenly from all signals as a whole; None for all of them. Every
            sample is seen once before any is seen again.
        sampling: which of them. ``uniform``: all alike. ``error``: in proportion to their error at the last
            evaluation, with weights that leave the expectation of the loss as it is (:class:`ErrorSampler
            <partinr.training.sampling.ErrorSampler>`). How many points a network gets then depends on the others.
        evaluate_every: evaluate every so many steps; None for a geometric sequence.
        evaluations_per_decade: of that sequence: evaluations while the steps grow tenfold.
        evaluate_at: further steps at which to evaluate.
        collapse_db: the run has failed when its PSNR stays so far below its best for three evaluations in a row;
            None to let it go on.
        freeze_at_psnr: a region whose PSNR has reached so many dB at an evaluation is finished: its network keeps its
            weights and costs nothing from then on (as the blocks of Saragadam et al., "MINER", 2022). The run is over
            when all are. None to train every region to the end.
        begin_at_mean: the values of a network begin around the mean of its region, by the bias of its output layer,
            and not around 0, which saves the steps to get there. The papers of the backbones draw that bias at random.
    """

    kind: ClassVar[str] = "fit"
    builder: ClassVar[str] = "partinr.regimes.fit.build:fit_module"
    blends: ClassVar[bool] = True

    loss: Literal["image", "region"] = "image"
    border_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    border_width: Annotated[int, Field(ge=1)] = 2
    points_per_step: Annotated[int, Field(ge=1)] | None = None
    sampling: Literal["uniform", "error"] = "uniform"
    evaluate_every: Annotated[Annotated[int, Field(ge=1)] | None, ASIDE] = None
    evaluations_per_decade: Annotated[int, Field(ge=1, le=100), ASIDE] = 20
    evaluate_at: Annotated[list[Annotated[int, Field(ge=1)]], ASIDE] = Field(default_factory=list)
    collapse_db: Annotated[Annotated[float, Field(gt=0)] | None, ASIDE] = 10.0
    freeze_at_psnr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    begin_at_mean: bool = False

    def __post_init__(self) -> None:
        """Check which options go together.

        Raises:
            PartinrError: ``sampling`` chooses among points, but none are drawn.
        """
        if self.sampling != "uniform" and self.points_per_step is None:
            raise PartinrError(
                f"regime.sampling={self.sampling} is about the points that are drawn for a step, and all are taken; "
                "give regime.points_per_step, or leave regime.sampling=uniform"
            )

    def sample_weights(self, partitions: Sequence[Partition], seed: int) -> Tensor | None:
        """The weight of each sample in the loss.

        A regime that sees its signals through an observation, such as a mask, overrides this: a sample of weight 0 is
        not seen, while the metrics still measure it.

        Args:
            partitions: of each signal.
            seed: of the run.

        Returns:
            float32 ``[M, 1]`` over all samples, signal by signal, each row-major, with mean 1; None where all are 1.
        """
        return sample_weights(
            partitions,
            by_region=self.loss == "region",
            border_weight=self.border_weight,
            border_width=self.border_width,
        )
