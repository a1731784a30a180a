"""Builds the module of the ordinary regime from the configuration of a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from partinr.base.errors import named
from partinr.model.album import stack_of
from partinr.model.inr import PiecewiseINR
from partinr.partition import Gate, Partition
from partinr.regimes.base import RunContext
from partinr.regimes.fit.gated import GatedFit
from partinr.regimes.fit.module import FitModule
from partinr.regimes.fit.probe import Probe
from partinr.regimes.fit.seen import unseen
from partinr.regimes.starts.base import Fitted
from partinr.signals.identity import SignalIdentity
from partinr.signals.kind import SignalKind
from partinr.signals.observations import Observed

if TYPE_CHECKING:
    from partinr.regimes.fit.settings import FitSettings


def fit_module(settings: FitSettings, context: RunContext) -> FitModule:
    """The module of a fit, with all signals as one stack.

    Raises:
        PartinrError: a signal cannot be read or fitted (for a set, the message names the signal), or the set holds
            signals out.
    """
    context.check_all_fitted("regime=fit")
    signals: list[Tensor] = []
    identities: dict[str, SignalIdentity] = {}
    partitions: dict[str, tuple[Partition, SignalKind | None]] = {}
    members: dict[str, PiecewiseINR] = {}
    observed: list[Observed] = []
    gate: Gate | None = None
    for number, item in enumerate(context.data.train()):
        with named(item.name):
            signal, identities[item.name], kind, everywhere = context.read(item)
            observed.append(context.observe.observe(signal, number))
            if context.observe.sees_all:
                observed[-1].everywhere = everywhere
            estimate = observed[-1].estimate  # whatever else depends on the signal must not know more than the loss
            partition = context.cut(item.name or context.data.title, estimate, item.source)
            if (notice := unseen(observed[-1], partition)) is not None:
                context.note(notice)
        signals.append(signal)
        partitions[item.name] = partition, kind
    with named(next(iter(partitions))):
        context = context.settled(
            [each.estimate for each in observed], [partition for partition, _ in partitions.values()]
        )
    probe = Probe(context, settings)
    for (name, (partition, kind)), seen in zip(partitions.items(), observed, strict=True):
        with named(name):
            gate = context.gate(partition)
            beside = 0 if gate is None else gate.parameter_count
            probed = probe.widths(name, partition, seen, kind)
            members[name] = context.model(partition, seen.estimate, kind=kind, probed=probed, beside=beside)
    lives = [context.live(seen.estimate) for seen in observed]
    seen_of = zip(members.items(), observed, strict=True)
    context.start.begin(
        [Fitted(name, model, seen.estimate, identities[name]) for (name, model), seen in seen_of], context
    )
    module = (FitModule if gate is None else partial(GatedFit, gate=gate))(
        stack_of(members),
        signals,
        settings=settings,
        start=context.start.learned(),
        start_steps=context.start.inner_steps,
        identities=identities,
        observe=context.observe,
        sampler=context.sampler,
        observed=observed,
        lives=lives if any(lives) else None,
        **context.training(),
    )
    probe.charge(module)
    module.about, module.begun = {**context.rule, **context.start.identity()}, context.begun
    return module
