"""Settings of learning to learn."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.spec import ASIDE, spec
from partinr.regimes.base import RegimeSettings
from partinr.regimes.meta.inner_rates import RateKind
from partinr.regimes.meta.learned import Algorithm
from partinr.regimes.meta.report import MetaSection
from partinr.regimes.meta.tasks import InnerLoss


@spec
class MetaSettings(RegimeSettings):
    """How the learning-to-learn regime trains, and when it is evaluated.

    Attributes:
        algorithm: ``maml``, second order (Finn et al., 2017, and the paper); ``fomaml``, first order; ``reptile``
            (Nichol et al., 2018); ``unadapted``, the baseline: one network for all signals, without inner steps.
        inner_steps: gradient descent steps per task, K.
        inner_lr: initial value of the inner learning rates; the paper's is 1e-5.
        inner_lr_kind: which rates are learned: ``static``, ``global``, ``per_step``, ``per_parameter`` or
            ``per_parameter_per_step``, the paper's; see :class:`~partinr.regimes.meta.InnerRates`.
        inner_lr_positive: learn logarithms, so that rates stay positive.
        inner_loss: ``region``: each network minimises the mean error of its own region; ``image``: its part of the mean
            over the image.
        adapt_layers: how many layers, counted from the output, the inner steps change (ANIL); None for all.
        meta_batch_size: tasks per outer step.
        context_fraction: fraction of a task's samples that the inner steps use, drawn again each time; the outer
            objective uses all samples.
        partition_in: ``both``: tasks are partitioned in training and in testing; ``test``: training uses one network
            for the whole signal, and in testing each region starts from its weights; ``neither``: one network
            throughout.
        initialisation: ``shared``: one for all regions (the paper's); ``region``: one for each region of a grid.
        recompute: recompute inner steps in the backward pass instead of keeping them, which needs less memory and more
            time.
        clip_norm: largest norm of the outer gradient; None for no limit.
        validation_steps: inner steps taken at an evaluation, K or more.
        validation_tasks: held-out signals that are evaluated; None for all.
        evaluate_every: outer steps between evaluations; None for a geometric sequence.
        evaluations_per_decade: evaluations in the geometric sequence while the steps grow tenfold.
        evaluate_at: further steps at which to evaluate.
        collapse_db: the run fails if its PSNR stays this many dB below its best for three evaluations in a row.
        workers: number of processes that load signals; 0 to load in the run's own process.
    """

    kind: ClassVar[str] = "meta"
    builder: ClassVar[str] = "partinr.regimes.meta.build:meta_module"

    algorithm: Algorithm = "maml"
    inner_steps: Annotated[int, Field(ge=1)] = 3
    inner_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-5
    inner_lr_kind: RateKind = "per_parameter_per_step"
    inner_lr_positive: bool = False
    inner_loss: InnerLoss = "region"
    adapt_layers: Annotated[int, Field(ge=1)] | None = None
    meta_batch_size: Annotated[int, Field(ge=1)] = 4
    context_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    partition_in: Literal["both", "test", "neither"] = "both"
    initialisation: Literal["shared", "region"] = "shared"
    recompute: Annotated[bool, ASIDE] = False
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    validation_steps: Annotated[int, Field(ge=1), ASIDE] = 10
    validation_tasks: Annotated[Annotated[int, Field(ge=1)] | None, ASIDE] = 32
    evaluate_every: Annotated[Annotated[int, Field(ge=1)] | None, ASIDE] = None
    evaluations_per_decade: Annotated[int, Field(ge=1, le=100), ASIDE] = 5
    evaluate_at: Annotated[list[Annotated[int, Field(ge=1)]], ASIDE] = Field(default_factory=list)
    collapse_db: Annotated[Annotated[float, Field(gt=0)] | None, ASIDE] = 10.0
    workers: Annotated[int, Field(ge=0), ASIDE] = 0

    def __post_init__(self) -> None:
        """Check that the options are compatible.

        Raises:
            PartinrError: two options exclude each other, such as learned rates and an algorithm without a gradient
                for them.
        """
        if self.validation_steps < self.inner_steps:
            raise PartinrError(
                f"regime.validation_steps={self.validation_steps} does not reach regime.inner_steps="
                f"{self.inner_steps}, where the PSNR of the curve is measured; give as many or more"
            )
        if self.algorithm in ("reptile", "unadapted") and self.inner_lr_kind != "static":
            why = "takes no gradient through its inner steps" if self.algorithm == "reptile" else "takes no inner steps"
            raise PartinrError(
                f"regime.algorithm={self.algorithm} {why}, so it learns no learning rates; "
                "give regime.inner_lr_kind=static and a regime.inner_lr"
            )
        if self.partition_in != "both" and self.initialisation == "region":
            what = "the one initialisation that is learned is copied to every region"
            what = what if self.partition_in == "test" else "there is one network"
            raise PartinrError(f"regime.partition_in={self.partition_in}: {what}; leave regime.initialisation=shared")
        if self.recompute and self.algorithm != "maml":
            raise PartinrError(
                f"regime.recompute=true is of no use to regime.algorithm={self.algorithm}, which keeps nothing of an "
                "inner step; leave regime.recompute=false"
            )
        if self.inner_lr_positive and self.inner_lr_kind == "static":
            raise PartinrError(
                "regime.inner_lr_positive=true is for learned rates; leave it out, or give another regime.inner_lr_kind"
            )
        if self.algorithm == "unadapted" and self.context_fraction < 1:
            raise PartinrError(
                f"regime.algorithm=unadapted takes no inner steps, so there is nothing to do with "
                f"regime.context_fraction={self.context_fraction:g}; leave it at 1"
            )

    def name(self, partition: str) -> str:
        """The algorithm, and where it uses the partition."""
        where = {"both": partition, "test": f"{partition} in test", "neither": "none"}[self.partition_in]
        return f"{self.algorithm} {where}"

    def describe(self) -> dict[str, Any]:
        """The regime's entry in ``run.json``."""
        return MetaSection.describe(dataclasses.asdict(self))
