"""Checks that refuse invalid fits before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.model.signal_stack import SignalStack
from partinr.partition import Live
from partinr.samplers import Sampler

if TYPE_CHECKING:
    from partinr.regimes.fit.seen import Seen
    from partinr.regimes.fit.settings import FitSettings


def checked_signals(names: Sequence[str], signals: Sequence[object]) -> list[tuple[str, Tensor]]:
    """Signals in single precision, each with its name; without names if their number is wrong.

    Raises:
        PartinrError: see :func:`checked_signal`.
    """
    given = names if len(signals) == len(names) else [""] * len(signals)
    return [(name, checked_signal(each, name)) for name, each in zip(given, signals, strict=True)]


def checked_signal(signal: object, name: str) -> Tensor:
    """A signal in single precision.

    Raises:
        PartinrError: the signal is not a tensor of floating-point numbers in [0, 1].
    """
    if not isinstance(signal, Tensor) or not signal.is_floating_point() or not _within_range(signal):
        which = f"{name}: " if name else ""
        raise PartinrError(
            f"{which}the signal must be a tensor of floating-point numbers in [0, 1], such as partinr.load_image gives"
        )
    return signal.float()


def _within_range(signal: Tensor) -> bool:
    """Whether all values are in [0, 1]; NaN is not."""
    return bool(((signal >= 0) & (signal <= 1)).all())


def check_fit(
    model: SignalStack,
    settings: FitSettings,
    sampler: Sampler,
    samples: int,
    learned: bool,
    start_steps: int,
    seen: Seen,
) -> None:
    """Check that settings, model and initialisation are compatible.

    Args:
        model: the model to fit.
        settings: settings of the regime.
        sampler: how samples are drawn.
        samples: number of samples of all signals.
        learned: whether the model begins with a learned initialisation.
        start_steps: number of first steps with the learned rates.
        seen: what is seen of the signals.

    Raises:
        PartinrError: they are not compatible.
    """
    for problem in (
        *_of_blending(model, settings, learned),
        *_of_points(model, settings, sampler, samples),
        *_of_start(settings, sampler, samples, learned, start_steps),
        *_of_observation(settings, sampler, samples, start_steps, seen),
    ):
        raise PartinrError(problem)
    if settings.begin_at_mean:
        for problem in _of_means(model, learned):
            raise PartinrError(problem)


def check_live(model: SignalStack, lives: Sequence[Live | None], learned: bool, seen: Seen) -> None:
    """Check that networks can be made anew for new labels.

    Args:
        model: the model to fit.
        lives: for each signal, what happens to its partition, or None.
        learned: whether the model begins with a learned initialisation.
        seen: what is seen of the signals.

    Raises:
        PartinrError: they cannot.
    """
    for problem in _of_changes(model, learned, seen) if any(each is not None for each in lives) else ():
        raise PartinrError(f"the partition changes during training, and {problem}")


def _of_changes(model: SignalStack, learned: bool, seen: Seen) -> Iterator[str]:
    if model.widths is not None:
        yield "all of its networks have one width; leave capacity=equal"
    if model.coupled:
        yield "a global network would be divided with it; leave global_network=false"
    if learned:
        yield "the rates of an initialisation (init) are those of its first networks; leave init out"
    if not seen.observation.sees_all:
        yield f"goes by the signal itself, which observe={seen.observation.title} hides; give observe=identity"
    if any(frames.centre is not None for frames in model.frames) and model.backbone.affine_inputs() is None:
        yield (
            f"{model.backbone.title} encodes coordinates, so that no network could go on in another local frame; give "
            "coords.frame=global, or backbone=siren"
        )


def _of_blending(model: SignalStack, settings: FitSettings, learned: bool) -> Iterator[str]:
    together = "but with overlap or global_network they are trained together"
    if model.together and settings.freeze_at_psnr is not None:
        yield (
            f"regime.freeze_at_psnr takes regions out of the training one by one, {together}; leave one of the two out"
        )
    if model.blended and settings.jitter:
        yield (
            "regime.jitter=true moves points within the cell of one network, and with overlap or global_network there "
            "are several; leave one of the two out"
        )
    if settings.jitter and any(frames.layout for frames in model.frames):
        yield (
            "regime.jitter=true moves points between the pixels, which coords.layout scrambles; "
            "leave one of the two out"
        )
    if model.together and learned:
        yield (
            "the steps of an initialisation are those of networks that have a region each to themselves; "
            "leave start out, or give overlap=0 and global_network=false"
        )


def _of_points(model: SignalStack, settings: FitSettings, sampler: Sampler, samples: int) -> Iterator[str]:
    given, points = settings.points_per_step, sampler.points(samples, settings.points_per_step)
    if given is not None and given > samples:
        yield (
            f"regime.points_per_step={given} is more than the {samples} samples there are; "
            "give fewer, or null for all of them"
        )
    if points is None and not sampler.plain:
        yield (
            f"sampler={sampler.title} is about the points that are drawn for a step, and all are taken; "
            "give regime.points_per_step or sampler.fraction, or leave sampler=uniform"
        )
    if points is None and settings.jitter:
        yield (
            "regime.jitter=true moves the points that are drawn for a step, and all are taken; "
            "give regime.points_per_step, or leave regime.jitter=false"
        )
    if points is not None and settings.coarse_until:
        yield (
            f"regime.coarse_until={settings.coarse_until:g} takes the points of a step in turns, and "
            f"sampler={sampler.title} draws them; give regime.coarse_until=0, or sampler=uniform"
        )
    if points is not None and model.together and not sampler.blends:
        yield (
            f"sampler={sampler.title} draws for each network by itself, but with overlap or global_network they are "
            "trained together; choose sampler=uniform, or give overlap=0 and global_network=false"
        )


def _of_start(settings: FitSettings, sampler: Sampler, samples: int, learned: bool, start_steps: int) -> Iterator[str]:
    drawn = sampler.points(samples, settings.points_per_step) is not None
    if start_steps and (not learned or drawn or settings.coarse_until):
        taken = "they are taken on all points, without regime.points_per_step, sampler and regime.coarse_until"
        why = taken if learned else "there is no init"
        yield (
            f"init_steps={start_steps} are steps with the learning rates of an initialisation, but {why}; "
            "leave one of the two out"
        )


def _of_observation(
    settings: FitSettings, sampler: Sampler, samples: int, start_steps: int, seen: Seen
) -> Iterator[str]:
    whole = seen.observation.sees_all
    if not whole and settings.freeze_at_psnr is not None:
        yield (
            f"regime.freeze_at_psnr goes by the signal itself, which observe={seen.observation.title} hides; "
            "leave regime.freeze_at_psnr out, or give observe=identity"
        )
    if not whole and settings.jitter:
        yield (
            f"regime.jitter=true needs the values between samples, which observe={seen.observation.title} hides; "
            "leave regime.jitter out, or give observe=identity"
        )
    if start_steps and (not whole or seen.joint):
        yield (
            f"init_steps={start_steps} are steps on the signal itself, without "
            f"{'regime.total_variation' if whole else f'observe={seen.observation.title}'}; leave init_steps out"
        )
    if seen.joint is None:
        return
    taken = {
        "regime.points_per_step=null": settings.points_per_step is not None,
        "sampler=uniform": sampler.points(samples, None) is not None,
        "regime.coarse_until=0": settings.coarse_until > 0,
        "regime.freeze_at_psnr=null": settings.freeze_at_psnr is not None,
    }
    for instead, given in taken.items():
        if given:
            yield f"{seen.joint} needs the values of all samples in each step; give {instead}"
    if any(each.joint for each in seen.signals) and (settings.loss != "image" or settings.border_weight != 1):
        yield (
            f"{seen.joint} has no error of a sample by itself that regime.loss or regime.border_weight could weigh; "
            "give regime.loss=image and regime.border_weight=1"
        )


def _of_means(model: SignalStack, learned: bool) -> Iterator[str]:
    if learned:
        yield (
            "regime.begin_at_mean=true would change the initialisation that was learned (init); "
            "leave one of the two out"
        )
    if model.regions < model.networks:
        yield (
            "regime.begin_at_mean=true with global_network=add would begin at twice the mean of each region; "
            "leave one of the two out"
        )
    if model.backbone.output_bias() is None:
        yield (
            f"the output of {model.backbone.title} has no bias that could begin at the mean of a region; "
            "leave regime.begin_at_mean out, or let its class say which parameter it is (output_bias)"
        )
