"""Facts about a run's regime from ``run.json``, with defaults, also for runs from before 0.2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.section import Section, fill, lookup
from partinr.base.section import field as column
from partinr.runs.subject import PSNR, Subject, metrics_of

OLDER: Mapping[str, str] = {
    "config.regime.inner_steps": "partinr.regimes.meta.report.MetaSection",
    "config.regime.threshold": "partinr.regimes.threshold.report.ThresholdSection",
}
"""Sections by a setting that only their regime has, because ``run.json`` did not name the regime before 0.2."""

_STEPS = "{steps|fixed:0} steps"

_PSNR = f"{{{PSNR.value}|{PSNR.form}}} {PSNR.unit}"

SUMMARY = (column("psnr", "PSNR dB", "metrics.psnr"), column("ssim", "SSIM", "metrics.ssim", "fixed:4"))


@dataclass(frozen=True)
class RegimeFacts:
    """The entry ``regime`` of ``run.json``."""

    kind: str
    """The kind of the regime."""
    section: str | None = None
    """Dotted path of a :class:`~partinr.base.section.Section`; None for runs that fit signals."""
    columns: Sequence[str] = ()
    """Further columns of ``curve.csv``."""
    files: Mapping[str, str] = field(default_factory=lambda: {"weights": "inr.safetensors"})
    """Files of a run, by role: ``weights``, ``start``, ``sheet``, ``trials``."""
    table: Sequence[Mapping[str, Any]] = ()
    """Further columns of the report's table, see :func:`partinr.base.section.field`."""
    summary: Sequence[Mapping[str, Any]] = SUMMARY
    """Columns of the table that the terminal prints after a run."""
    result: str = f"{_PSNR} after {_STEPS}"
    """Template of the line that a sweep prints for a finished run."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Templates of messages for commands that do not apply to such runs: ``report``, ``render`` (and all others that
    need the model), ``resume``, ``rerun``."""
    hints: Sequence[Sequence[str]] = (("report", "partinr report {run}"),)
    """Suggested next commands: a word and the template of a command each."""

    @classmethod
    def of(cls, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> RegimeFacts:
        """The facts of a run, from its ``run.json`` and its config."""
        said = manifest.get("regime")
        if not isinstance(said, Mapping):
            said = _older(config)
        known = {"kind": "", **{key: value for key, value in said.items() if key in cls.__dataclass_fields__}}
        metrics = metrics_of(manifest)
        leading = Subject.of(manifest).leading
        summary = known.get("summary", SUMMARY)
        if metrics or lookup("signal.picture", manifest, {}) is False:  # SSIM is of pictures
            summary = (*(each for each in summary if each["value"] != "metrics.ssim"), *metrics)
        known["summary"] = sorted(summary, key=lambda each: each["key"] != leading.key)  # what leads comes first
        if leading != PSNR:
            led = f"{{{leading.value}|{leading.form}}} {leading.unit} {leading.name}"
            known["result"] = known.get("result", cls.result).replace(_PSNR, led)
        known["columns"] = (*known.get("columns", ()), *(each["key"] for each in metrics))
        known["table"] = (*known.get("table", ()), *metrics)
        return cls(**known)

    def check_allows(self, command: str, manifest: Mapping[str, Any], config: Mapping[str, Any], run: object) -> None:
        """Refuse a command that does not apply to such runs.

        Args:
            command: a key of :attr:`instead`.
            manifest: content of ``run.json``.
            config: the configuration.
            run: what the user calls the run.

        Raises:
            PartinrError: it does not apply.
        """
        if command in self.instead:
            raise PartinrError(fill(self.instead[command], manifest, config, run))

    def load(self) -> type[Section]:
        """The class of the report section.

        Raises:
            ImportError: the section cannot be imported.
        """
        return Section if self.section is None else section_at(self.section)

    def words(self, config: Mapping[str, Any], partition: str) -> tuple[str, str]:
        """One word each for regime and partition, see :meth:`partinr.base.section.Section.words`."""
        try:
            name, partition = self.load().words(config, partition)
        except ImportError:
            name = ""
        return name or self.kind, partition


def _older(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry for a run from before 0.2; an unknown kind follows from the class of its settings."""
    regime = config.get("regime")
    settings = regime if isinstance(regime, Mapping) else {}
    for key, path in OLDER.items():
        if lookup(key, {}, config) is not None:
            return section_at(path).describe(settings)
    name = str(settings.get("_target_", "")).rpartition(".")[2]
    return {"kind": name.removesuffix("Settings").lower()}


@cache
def section_at(path: str) -> type[Section]:
    """The section at a dotted path.

    Raises:
        ImportError: the path has no section.
    """
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name, None)
    if not (isinstance(found, type) and issubclass(found, Section)):
        raise ImportError(f"{path} is not a section of a report")
    return found
