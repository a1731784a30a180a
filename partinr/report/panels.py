"""The page's data for single runs: pictures that represent a group, and facts about each run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from partinr.base.numbers import ABSENT, write
from partinr.base.section import Section, fill
from partinr.base.text import for_shell
from partinr.report.groups import Group
from partinr.report.notices import commit_of, devices_of, machine_of
from partinr.report.thumbnails import SHEET_SIDE, PictureStore
from partinr.runs.configs import METHOD
from partinr.runs.layout import BEST, ERROR, FITTED, IMAGE, PARTITION, RECONSTRUCTION, SIGNAL, of_image
from partinr.runs.records import RunRecord
from partinr.runs.regime_facts import SUMMARY
from partinr.runs.sharing import SIGN
from partinr.runs.subject import PSNR, Leading, measure, metrics_of

GALLERY = 24
"""Number of reconstructions shown for a run of several images."""


def pictures_of(group: Group, store: PictureStore, section: Section | None) -> dict[str, Any]:
    """The pictures of a group's median run, with their captions."""
    record = group.median()
    found = [] if record is None else _figures(group, record, store, section)
    return {
        "group": group,
        "chosen": _chosen(group, record),
        "figures": found,
        "seed": None if record is None else record.seed,
        "any": any(figure["picture"] for figure in found),
        "sheet": record is not None and "sheet" in record.regime.files,
        "lines": [] if record is None or record.images else _lines(record),
        "measures": [] if record is None else [title for title, _, _ in _measures(record)],
        "images": [] if record is None else [_image(name, of, record) for name, of in record.images.items()],
    }


def _figures(group: Group, record: RunRecord, store: PictureStore, section: Section | None) -> list[dict[str, Any]]:
    sheet = record.regime.files.get("sheet")
    if sheet is not None:
        caption = section.sheet if section else ""
        return [{"kind": "", "caption": caption, "picture": store.add(record.path / sheet, SHEET_SIDE)}]
    if record.images:
        return [
            {
                "kind": name,
                "caption": _led(of, record.subject.leading),
                "picture": store.add(record.path / of_image(name, RECONSTRUCTION)),
                "media": store.media(record.path, record.manifest, FITTED, name),
            }
            for name, of in list(record.images.items())[:GALLERY]
        ]
    observation, best = (record.regime.files.get(role) for role in ("observation", "best_picture"))
    captions = (
        (IMAGE, record.subject.words[0], str(record.at("signal.legend") or "")),
        *(((observation, "observation", "what the loss sees"),) if observation else ()),
        *(((PARTITION, "partition", _regions(group)),) if METHOD.path[0] not in record.config else ()),
        *(((best, "best reconstruction", _best(record)),) if best and (record.path / best).is_file() else ()),
        (RECONSTRUCTION, "last reconstruction" if best else "reconstruction", ", ".join(_quality(record))),
    )
    found: list[dict[str, Any]] = [
        {"kind": kind, "caption": caption, "picture": store.add(record.path / name)} for name, kind, caption in captions
    ]
    parts = {IMAGE: SIGNAL, RECONSTRUCTION: FITTED, best: BEST}
    for figure, (name, _, _) in zip(found, captions, strict=True):
        if name in parts:
            figure["media"] = store.media(record.path, record.manifest, parts[name])
    if not record.is_picture:
        return [*found, {"kind": "error", "caption": "", "picture": store.add(record.path / ERROR)}]
    return [*found, {"kind": "absolute error", "caption": "", "picture": store.add_error(record.path)}]


def _quality(record: RunRecord) -> list[str]:
    """What was measured at the end, the leading metric first."""
    found = {
        each["key"]: _measured(each, value)
        for each in (*SUMMARY, *metrics_of(record.manifest))
        if (value := record.number(each["value"])) is not None
    }
    if record.subject.leading == PSNR and "psnr" in found:
        found["psnr"] = found["psnr"].removeprefix("PSNR ")
    said = sorted(found.values(), key=lambda said: said != found.get(record.subject.leading.key))
    measured = record.number("metrics.measured.psnr")
    return said if measured is None else [*said, f"this picture {PSNR.written(measured)}"]


def _regions(group: Group) -> str:
    return f"{group.regions} region{'s' * (group.regions != 1)}" if group.regions else ""


WIDE, HIGH = 720, 120
"""Size of a line of :func:`_lines`, in pixels."""


def _lines(record: RunRecord) -> list[dict[str, Any]]:
    """The lists that the kind of signal has charts for, such as the PSNR of each frame of a film, as lines."""
    charts = record.at("signal.charts")
    found = []
    for chart in charts if isinstance(charts, list) else ():
        values = record.numbers(chart["value"])
        known = [(place, value) for place, value in enumerate(values) if math.isfinite(value)]
        if len(known) < 2:
            continue
        low, high = (end(value for _, value in known) for end in (min, max))
        across, up = WIDE / (len(values) - 1), HIGH / (high - low or 1)
        points = " ".join(f"{across * place:.1f},{HIGH - up * (value - low):.1f}" for place, value in known)
        found.append({**chart, "points": points, "count": len(values), "low": f"{low:.2f}", "high": f"{high:.2f}"})
    return found


def _best(record: RunRecord) -> str:
    """Where the curve was at its best."""
    psnr, step = record.number("metrics.psnr_best"), record.number("metrics.step_best")
    return "" if psnr is None or step is None else f"{PSNR.written(psnr)} at step {step:,.0f}"


def _chosen(group: Group, record: RunRecord | None) -> str:
    """A caption that says which run's pictures represent a group."""
    if record is None:
        return ""
    which = {1: [], 2: ["the lower of 2"]}.get(group.n, [f"the median of {group.n}"])
    return ", ".join([*([] if record.seed is None else [f"seed {record.seed}"]), *which])


def _measures(record: RunRecord) -> list[tuple[str, str, str]]:
    """Heading, key and form of each metric of the signals of a run, the leading one first."""
    further, leading = metrics_of(record.manifest), record.subject.leading
    fields = [*(SUMMARY if record.is_picture else SUMMARY[:1]), *further]
    fields.sort(key=lambda each: each["key"] != leading.key)
    return [(each["heading"], each["key"], each["form"]) for each in fields]


def _image(name: str, of: Mapping[str, Any], record: RunRecord) -> dict[str, Any]:
    """A row of the table of a run's signals."""
    shape, regions, parameters = (of.get(key) for key in ("shape", "regions", "parameters"))
    return {
        "name": name,
        "size": "×".join(map(str, shape[:-1])) if isinstance(shape, list) else "",
        "regions": f"{regions:,}" if isinstance(regions, int) else "",
        "parameters": f"{parameters:,}" if isinstance(parameters, int) else "",
        "measures": [_number(of.get(key), form) for _, key, form in _measures(record)],
    }


def _number(value: Any, form: str) -> str:
    return write(value, form) if isinstance(value, (int, float)) else ABSENT


def _measured(field: Mapping[str, Any], value: float) -> str:
    """A metric in words, its unit after the number."""
    name, unit = measure(field)
    return f"{name} {write(value, field['form'])} {unit}".rstrip()


def _led(of: Mapping[str, Any], leading: Leading) -> str:
    """The leading metric of one of several signals."""
    value = of.get(leading.key)
    return leading.written(value) if isinstance(value, (int, float)) else ABSENT


# -- runs -----------------------------------------------------------------------------------------------------------

_SAFE_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The libyaml dumper if PyYAML has it, which is ten times faster with the same output."""


def run_of(record: RunRecord, section: Section | None) -> dict[str, Any]:
    """The page's data for one run."""
    leading = record.subject.leading
    quality, memory = record.final(leading.key), record.number("peak_memory_bytes")
    clocks, versions = record.at("seconds"), record.at("versions")
    seconds = {key: record.number(f"seconds.{key}") for key in (clocks if isinstance(clocks, Mapping) else ())}
    cpu = {key: record.number(f"cpu_seconds.{key}") for key in ("training", "evaluation")}
    facts = {
        "folder": str(record.path),
        "command": " ".join(["partinr", *map(for_shell, record.overrides)]) if record.status != "damaged" else "",
        "seed": "" if record.seed is None else str(record.seed),
        "steps": _steps(record),
        "seconds": _listed(seconds) + (SIGN if record.shared else ""),
        "CPU seconds": _listed(cpu),
        "shared machine": record.shared or "",
        "load": _load(record),
        "peak memory": "" if memory is None else f"{write(memory, 'si')}B{' (rank 0)' * (devices_of(record) > 1)}",
        "hardware": _hardware(record),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else "",
        "commit": commit_of(record),
        "started": str(record.at("started") or ""),
        "finished": str(record.at("finished") or ""),
        "config hash": str(record.at("config_hash") or ""),
    }
    config = yaml.dump(dict(record.config), Dumper=_SAFE_DUMPER, sort_keys=False, allow_unicode=True)
    return {
        "record": record,
        "quality": "" if quality is None else leading.written(quality),
        "after": fill(section.after, record.manifest, record.config) if section else "",
        "facts": {key: value for key, value in facts.items() if value},
        "config": config if record.config else "",
    }


def _steps(record: RunRecord) -> str:
    steps, stop = record.number("steps"), record.at("stop")
    if steps is None:
        return ""
    said = f"{steps:,.0f}" + (f", ended by {stop}" if stop and record.status == "completed" else "")
    frozen, saved = record.number("frozen_regions"), record.number("seconds.saved")
    if frozen:
        said += f", {frozen:,.0f} regions finished early" + (f", {saved:.1f} s saved" if saved else "")
    return said


def _listed(seconds: Mapping[str, float | None]) -> str:
    return ", ".join(f"{key} {write(value, 'significant')}" for key, value in seconds.items() if value is not None)


def _load(record: RunRecord) -> str:
    """Load average and other runnable threads at the start, in the middle and at the end, as far as known."""
    said = []
    for moment in ("start", "middle", "end"):
        load, others, mhz = (record.number(f"machine.{moment}.{key}") for key in ("load", "others", "mhz"))
        parts = [] if load is None else [f"load {load:g}"]
        parts += [] if others is None else [f"{others:.0f} other runnable thread{'s' * (others != 1)}"]
        parts += [] if mhz is None else [f"{mhz:.0f} MHz"]
        said += [f"{moment}: {', '.join(parts)}"] if parts else []
    return "; ".join(said)


def _hardware(record: RunRecord) -> str:
    cores, device = record.at("hardware.cores"), record.at("hardware.device")
    parts = [machine_of(record), f"{cores} cores" if cores else "", f"device {device}" if device else ""]
    return ", ".join(part for part in parts if part)
