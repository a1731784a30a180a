"""What a run says of its kind of signal: what it is called, and by which metric fits of it are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from partinr.base.numbers import write
from partinr.base.section import lookup


@dataclass(frozen=True)
class Leading:
    """The metric by which fits are compared. Higher values are better."""

    key: str = "psnr"
    """Its column in the curve, and its entry among the metrics of ``run.json``."""
    name: str = "PSNR"
    unit: str = "dB"
    """Empty for a metric without one."""
    form: str = "fixed:2"
    levels: tuple[float, ...] = (25, 30, 35, 40)
    """Values to which tables have the effort."""

    @property
    def value(self) -> str:
        """Path of the final value, see :func:`partinr.base.section.lookup`."""
        return f"metrics.{self.key}"

    @property
    def title(self) -> str:
        """Its name with the unit, for an axis."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    def written(self, value: float) -> str:
        """A value with its unit."""
        return f"{write(value, self.form)} {self.unit}".rstrip()


PSNR = Leading()


@dataclass(frozen=True)
class Subject:
    """The kind of signal of a run, or the common one of several."""

    words: tuple[str, str] = ("image", "images")
    """What one signal is called, and several."""
    leading: Leading = PSNR

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Subject:
        """The facts in ``run.json``. Runs of older versions say nothing of words, and PSNR leads."""
        signal = manifest.get("signal")
        said = signal if isinstance(signal, Mapping) else {}
        words, leads = said.get("words"), said.get("leads")
        if not (isinstance(words, list) and len(words) == 2 and all(isinstance(each, str) for each in words)):
            words = ("signal", "signals") if said.get("picture") is False else cls.words
        leading, led = PSNR, leads if isinstance(leads, Mapping) else {}
        for field in metrics_of(manifest):
            if field["key"] == led.get("key"):
                leading = Leading(field["key"], *measure(field), field["form"], tuple(led["levels"]))
        return cls((words[0], words[1]), leading)

    @classmethod
    def common(cls, subjects: Iterable[Subject]) -> Subject:
        """The subject of several runs: where they are of several kinds, PSNR leads, which all of them have."""
        found = list(dict.fromkeys(subjects))
        if not found:
            return cls()
        several = len({each.words for each in found}) > 1
        return cls(
            ("signal", "signals") if several else found[0].words,
            PSNR if len({each.leading for each in found}) > 1 else found[0].leading,
        )


def measure(field: Mapping[str, Any]) -> tuple[str, str]:
    """Name and unit of a column of decibels, such as ``SNR dB``; of another column its heading, and no unit."""
    name, unit, _ = str(field["heading"]).partition(" dB")
    return name, unit.strip()


def metrics_of(manifest: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The columns of what a run measured beyond PSNR and SSIM, as its kind of signal describes them."""
    found = lookup("signal.metrics", manifest, {})
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def native_of(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """The files of ``signal`` and ``reconstruction`` in the format of the kind of signal, if a run keeps them.

    ``media`` is the HTML element that plays them.
    """
    found = lookup("signal.files", manifest, {})
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}
