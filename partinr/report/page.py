"""The report as one HTML file that needs nothing else: no network, no server, no folder beside it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.pictures.draw import ERROR_RANGE
from partinr.report.groups import Group, Study, Versus, commit_of, devices_of, machine_of, states
from partinr.report.palette import SLOTS, Style, contrast_with, styles
from partinr.report.payload import payload
from partinr.report.table import ABSENT, LEVELS, Column, Row, columns_of, fixed, rows, si, significant, write
from partinr.report.templates import error_scale, template
from partinr.runs.directory import ADAPTATION, ERROR, IMAGE, PARTITION, RECONSTRUCTION, of_image
from partinr.runs.records import Axis, RunRecord

PICTURE_BUDGET = 24_000_000
"""Bytes that all pictures of a page of a few runs may come to, about; beyond it they are shown smaller."""

FEW = 48
"""Up to so many runs are a few. Of more, the pictures get what is left of :data:`PAGE_BUDGET`."""

PAGE_BUDGET = 9_000_000
"""Bytes that a page of many runs may have: what is opened over a network drive, or sent by mail."""

PICTURE_LEAST = 1_000
"""Bytes of a picture that are worth having, whatever the budget."""

EXPLORED = 5
"""From so many runs on there is a filter: fewer are seen at a glance."""

ROWS_IN_HTML = 60
"""Rows of a table that stand in the page's HTML; of more groups the script writes those that are looked at."""

PICTURE_LIMIT = 600_000
"""Bytes of one picture that is shown as it is, when the budget allows."""

PICTURE_SIDE = 720
"""Longer side, in pixels, of a picture that is shown smaller than it is."""

SHEET_SIDE = 2000
"""The same of a sheet of pictures with words."""

GALLERY = 24
"""Of a run that fitted several images, so many reconstructions are shown."""


def write_html(
    records: Sequence[RunRecord],
    path: str | Path,
    title: str | None = None,
    *,
    refresh: float | None = None,
    cache: PictureCache | None = None,
) -> Path:
    """Write the report of ``records``.

    Args:
        records: runs, as of :func:`~partinr.runs.records.collect`.
        path: the file; replaced in one step.
        title: of the page; by default it is made of the images' names.
        refresh: seconds after which an open page loads itself again; None for a page that stays as it is.
        cache: pictures made for an earlier page, which are not made again.

    Returns:
        ``path``.

    Raises:
        PartinrError: the file cannot be written.
    """
    path = Path(path)
    fits, learned = Study.of(records), Study.of(records, "initialisation")
    page = template("template.html").render(
        _context(records, fits, learned, title or _title([fits, learned]), refresh, {} if cache is None else cache)
    )
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise PartinrError(f"cannot write the report {path}: {error.strerror}; choose another place with -o") from error
    return path


LONGEST_TITLE = 80
"""Characters of the names of groups in the page's title, at most: the legend has them all."""


def _title(studies: Sequence[Study]) -> str:
    """What was compared on what."""
    said = []
    for labels, images in ((study.labels, study.images) for study in studies if study.groups):
        names = ", ".join(labels)
        what = names if len(labels) <= 4 and len(names) <= LONGEST_TITLE else f"{len(labels)} configurations"
        said.append(f"{', '.join(images) if len(images) <= 3 else f'{len(images)} images'}: {what}")
    return "; ".join(said) or "No readable run"


def _count(records: Sequence[RunRecord], studies: Sequence[Study]) -> str:
    """How many runs, groups and images there are."""
    groups = sum(len(study.groups) for study in studies)
    said = f"{_plural(len(records), 'run')} in {_plural(groups, 'group')}"
    fits, learned = (study.images for study in studies)
    images = [_plural(len(fits), "image")] if fits or not learned else []
    sets = [_plural(len(learned), "set") + " of held-out signals"] if learned else []
    return f"{said} on {' and '.join(images + sets)}"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _context(
    records: Sequence[RunRecord],
    study: Study,
    learned: Study,
    title: str,
    refresh: float | None,
    cache: PictureCache,
) -> dict[str, Any]:
    # Slow to import, and only a page needs it.
    from plotly.offline import get_plotlyjs

    table, learned_table = rows(study), rows(learned)
    style = _styles(study)
    studies = (study, learned)
    runs = [_run(record) for record in records]
    data = payload(
        records,
        {"fits": (study, table, style), "learned": (learned, learned_table, _styles(learned))},
        [(run["facts"], run["config"]) for run in runs],
    )
    plotly = get_plotlyjs()
    store = PictureStore(_expected(studies), _budget(data, studies, len(plotly)), cache)
    context = {
        "title": title,
        "made": datetime.now().astimezone(),
        "refresh": refresh,
        "study": study,
        "learned": _learned(learned, learned_table, store),
        "count": _count(records, studies),
        "states_count": states(records),
        "records": records,
        "group_count": sum(len(each.groups) for each in studies),
        "style": style,
        "slots": SLOTS,
        # Where all has gone well, a column that says so takes room from the others.
        "states": any(group.state != "completed" for group in study.groups),
        "notices": list(dict.fromkeys(notice for each in studies for notice in each.notices)),
        "unfinished": [run for run in runs if run["record"].status not in ("completed", "queued")],
        "queued": sum(record.status == "queued" for record in records),
        "repeated": [record for each in studies for record in each.repeated()],
        "tables": [made for key in _TABLES if (made := _table(key, table, study))["columns"]],
        "tiles": {image: _tiles([row for row in table if row.group.image == image]) for image in study.images},
        "remarks": {image: _remarks([row for row in table if row.group.image == image]) for image in study.images},
        "pictures": {image: [_pictures(group, store) for group in study.on(image)] for image in study.images},
        "error_scale": error_scale(),
        "error_range": ERROR_RANGE,
        "runs": runs,
        "rows_in_html": ROWS_IN_HTML,
        "few": FEW,
        "explorable": len(records) >= EXPLORED,
        "rated": any(record.rates for group in study.groups for record in group.records),
        "rated_several": any(record.rates and record.images for group in study.groups for record in group.records),
        "data": data,
        "store": store.uris,
        "plotly": Markup(plotly),
    }
    store.forget()
    return context


def _expected(studies: Sequence[Study]) -> int:
    """How many pictures there may be: groups on one image have it in common."""
    fits, learned = studies
    medians = [record for group in fits.groups if (record := group.median())]
    return len(fits.images) + sum(min(GALLERY, len(record.images)) or 3 for record in medians) + len(learned.groups)


def _budget(data: Mapping[str, Any], studies: Sequence[Study], script: int) -> int:
    """Bytes for pictures, before they are written as text."""
    if len(data["runs"]) <= FEW:
        return PICTURE_BUDGET
    groups = sum(len(study.groups) for study in studies)
    rest = len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
    # The HTML of a group's pictures, rows and panel, and of a run's line.
    rest += script + 3_000 * groups + 15_000 * min(groups, ROWS_IN_HTML) + 500 * len(data["runs"])
    return max(PAGE_BUDGET - rest, 0) * 3 // 4


def _styles(study: Study) -> dict[str, Style]:
    """How the groups of a study are drawn."""
    labels = study.labels
    return styles(labels, contrast_with(labels, {group.label: group.regions for group in study.groups}))


# -- tables ---------------------------------------------------------------------------------------------------------

_TABLES = {
    "results": "Results",
    "convergence": "Steps and seconds to a PSNR",
    "seams": "Seams along borders",
}
"""Tables of a study of fits, with what stands above them; one without columns is left out."""


def _table(key: str, table: Sequence[Row], study: Study) -> dict[str, Any]:
    columns = [column for column in columns_of(study) if column.table == key]
    spans: list[tuple[str, int]] = []
    for column in columns:
        if spans and spans[-1][0] == column.span:
            spans[-1] = (column.span, spans[-1][1] + 1)
        else:
            spans.append((column.span, 1))
    starts = {column.key for before, column in zip([None, *columns], columns, strict=False) if _opens(before, column)}
    bodies = [(image, [row for row in table if row.group.image == image]) for image in study.images]
    return {
        "key": key,
        "title": _TABLES.get(key),
        "columns": columns,
        "spans": spans,
        "starts": starts,
        "bodies": bodies,
    }


def _opens(before: Column | None, column: Column) -> bool:
    return before is None or before.span != column.span


@dataclass(frozen=True)
class Tile:
    """One of the numbers that a page begins with."""

    key: str
    number: str
    what: str
    label: str
    note: str


def _tiles(table: Sequence[Row]) -> list[Tile]:
    """The best of the groups against the lone network of an image; empty if there is nothing to compare."""
    compared = [
        (row, row.versus)
        for row in table
        if row.versus and row.versus.lone is not row.group and not row.group.provisional
    ]
    if not compared:
        return []
    tiles = []
    for key, axis in _SPEED_TILES.items():
        ratios = [(mean, row, versus) for row, versus in compared if (mean := versus.ratio[axis].mean) is not None]
        if ratios:
            ratio, row, versus = max(ratios, key=lambda found: found[0])
            note = f"to the {versus.level:.2f} dB at which {versus.lone.label} ended"
            tiles.append(Tile(key, *_speed(ratio, axis, row.cells[key].text), row.group.label, note))
        else:
            tiles.append(_tile_below(compared, key, axis))
    gains = [(mean, row, versus) for row, versus in compared if (mean := versus.gain.mean) is not None]
    if gains:
        gain, row, versus = max(gains, key=lambda found: found[0])
        number = f"{'+' if gain >= 0 else '−'}{write(abs(gain), fixed(2))} dB"
        tiles.append(Tile("gain", number, "PSNR at the end", row.group.label, f"against {versus.lone.label}"))
    return tiles


_SPEED_TILES: Mapping[str, Axis] = {"lone_step_ratio": "step", "lone_time_ratio": "seconds"}
"""Tiles of speed-ups, by the column that they are in."""

_SPENT: Mapping[Axis, str] = {"step": "steps", "seconds": "training time"}
"""What a tile calls an axis."""


def _speed(ratio: float, axis: Axis, written: str) -> tuple[str, str]:
    """Number and words of a tile: a speed-up, or, below 1, a slow-down. ``written`` is the speed-up."""
    if ratio >= 1:
        return f"{written}×", f"speed-up in {_SPENT[axis]}"
    as_many = "as many" if axis == "step" else "as much"
    return f"{write(1 / ratio, significant)}× {as_many}", f"slow-down in {_SPENT[axis]}"


def _tile_below(compared: Sequence[tuple[Row, Versus]], key: str, axis: Axis) -> Tile:
    """Where no group came to the lone network's end: the speed-up to the highest level that one of them came to."""
    lone = compared[0][1].lone
    seeds = " in all its seeds" if max(row.group.n for row, _ in compared) > 1 else ""
    unreached = f"No group reached the final PSNR of {lone.label}{seeds}."
    for level in reversed(LEVELS):
        found = []
        for row, versus in compared:
            alone, parts = (_effort(group, level, axis) for group in (versus.lone, row.group))
            if alone is not None and parts:
                found.append((alone / parts, row))
        if found:
            ratio, row = max(found, key=lambda pair: pair[0])
            note = f"to {level} dB. {unreached}"
            return Tile(key, *_speed(ratio, axis, write(ratio, significant)), row.group.label, note)
    return Tile(key, ABSENT, f"speed-up in {_SPENT[axis]}", "", unreached)


def _effort(group: Group, level: float, axis: Axis) -> float | None:
    """What a group spends until it has a PSNR, mean over seeds; None unless every seed comes to it."""
    return group.stat(lambda record: record.reaches(level, axis)).mean


def _remarks(table: Sequence[Row]) -> list[str]:
    """What a reader must know of the speed-ups on one image."""
    remarks = [
        f"Not at equal parameters: {row.group.label} has {write(1 / row.versus.parameters, significant)} times the "
        f"parameters of {row.versus.lone.label}, which it is measured against."
        for row in table
        if row.versus and row.versus.parameters and not 0.9 <= row.versus.parameters <= 1 / 0.9
    ]
    unmeasured = [row.group.label for row in table if row.group.regions != 1 and row.group.counted and not row.versus]
    if unmeasured:
        remarks.append(
            f"No speed-up for {', '.join(unmeasured)}: no completed run has one region and otherwise the same "
            "configuration."
        )
    return remarks


# -- learning to learn ----------------------------------------------------------------------------------------------


def _learned(study: Study, table: Sequence[Row], store: PictureStore) -> dict[str, Any] | None:
    """What the page says of the runs that learned an initialisation; None if there are none."""
    if not study.groups:
        return None
    pictures = []
    for group in study.groups:
        record = group.median()
        pictures.append(
            {
                "group": group,
                "chosen": _chosen(group, record),
                "picture": record and store.add(record.path / ADAPTATION, SHEET_SIDE),
            }
        )
    return {
        "study": study,
        "style": _styles(study),
        "states": any(group.state != "completed" for group in study.groups),
        "table": _table("learning", table, study),
        "cost": _table("learning-cost", table, study),
        "pictures": pictures,
    }


# -- pictures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shown:
    """A picture as it is on the page: its key, its bytes as a data URI, and its size [pixels]."""

    key: str
    uri: str
    width: int
    height: int


PictureCache = dict[tuple[Any, ...], _Shown | None]
"""Pictures by the state of their file and by what room they have; None for a damaged one."""


@dataclass
class PictureStore:
    """Pictures as data URIs, each once however often it is shown."""

    expected: int
    """How many pictures there may be."""
    budget: int = PICTURE_BUDGET
    """Bytes for all of them."""
    cache: PictureCache = field(default_factory=dict)
    uris: dict[str, str] = field(default_factory=dict)
    used: set[tuple[Any, ...]] = field(default_factory=set)
    """Keys of ``cache``."""

    def add(self, path: Path, side: int = PICTURE_SIDE) -> dict[str, Any] | None:
        """Take in a picture file: its key and its size [pixels] on the page; None if there is no sound file.

        One of too many bytes is made so small that its longer side has ``side`` pixels, or fewer until it fits.
        """
        try:
            stat = path.stat()
            about = (str(path), stat.st_mtime_ns, stat.st_size, self._allowance, side)
            if about not in self.cache:
                raw = path.read_bytes()
                # What several runs have in common, as their image, is made small once.
                alike = (hashlib.sha256(raw).hexdigest()[:16], self._allowance, side)
                if alike not in self.cache:
                    self.cache[alike] = _shown(alike[0], raw, self._allowance, side)
                self.cache[about] = self.cache[alike]
                self.used.add(alike)
            self.used.add(about)
            shown = self.cache[about]
        except OSError:
            return None
        if shown is None:
            return None
        self.uris[shown.key] = shown.uri
        return {"key": shown.key, "width": shown.width, "height": shown.height}

    def forget(self) -> None:
        """Remove from the cache what was not added: the files have changed."""
        for key in self.cache.keys() - self.used:
            del self.cache[key]

    @property
    def _allowance(self) -> int:
        """Bytes of one picture. A power of two where it is small, so that another run more changes no picture."""
        share = self.budget // max(self.expected, 1)
        if share >= PICTURE_LIMIT:
            return PICTURE_LIMIT
        return int(2 ** math.floor(math.log2(max(share, PICTURE_LEAST))))


def _shown(key: str, raw: bytes, allowance: int, side: int) -> _Shown | None:
    """A picture in at most ``allowance`` bytes; None if it is damaged."""
    try:
        with warnings.catch_warnings():
            # A large picture is the user's own and is made small here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw)) as picture:
                picture.load()
                kind = picture.get_format_mimetype()
                size = picture.size
                if len(raw) > allowance:
                    raw, size = _small(picture.convert("RGB"), allowance, side)
                    kind = "image/webp"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        # Pillow's own names for a damaged file.
        return None
    return _Shown(key, f"data:{kind};base64,{base64.b64encode(raw).decode()}", *size)


def _small(picture: Image.Image, allowance: int, side: int) -> tuple[bytes, tuple[int, int]]:
    """A picture as WebP of at most ``allowance`` bytes, if eight pixels can be, and its size. A large one need not fit.

    The first try is for two bits a pixel, which a photograph takes.
    """
    large = allowance >= 100_000
    side = side if large else min(side, max(8, math.isqrt(4 * allowance)))
    while True:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=90 if large else 80)
        if buffer.tell() <= allowance or large or side <= 8:
            return buffer.getvalue(), picture.size
        side = max(8, min(side - 1, int(0.95 * side * math.sqrt(allowance / buffer.tell()))))


def _pictures(group: Group, store: PictureStore) -> dict[str, Any]:
    record = group.median()
    figures = []
    if record is not None and record.images:
        for name, of in list(record.images.items())[:GALLERY]:
            picture = store.add(record.path / of_image(name, RECONSTRUCTION))
            figures.append({"kind": name, "caption": _decibels(of.get("psnr")), "picture": picture})
    elif record is not None:
        psnr, ssim = record.final("psnr"), record.final("ssim")
        quality = [_decibels(psnr)] if psnr is not None else []
        quality += [f"SSIM {write(ssim, fixed(3))}"] if ssim is not None else []
        captions = (
            (IMAGE, "image", ""),
            (PARTITION, "partition", f"{group.regions} region{'s' * (group.regions != 1)}" if group.regions else ""),
            (RECONSTRUCTION, "reconstruction", ", ".join(quality)),
            (ERROR, "absolute error", f"{ERROR_RANGE[0]:g} to {ERROR_RANGE[1]:g}"),
        )
        figures = [
            {"kind": kind, "caption": caption, "picture": store.add(record.path / name)}
            for name, kind, caption in captions
        ]
    return {
        "group": group,
        "chosen": _chosen(group, record),
        "figures": figures,
        "seed": None if record is None else record.seed,
        "any": any(figure["picture"] for figure in figures),
        "images": [] if record is None else [_image(name, of) for name, of in record.images.items()],
    }


def _chosen(group: Group, record: RunRecord | None) -> str:
    """Whose pictures stand for a group."""
    if record is None:
        return ""
    which = {1: "", 2: ", the lower of 2"}.get(group.n, f", the median of {group.n}")
    return f"seed {record.seed}{which}"


def _image(name: str, of: Mapping[str, Any]) -> dict[str, str]:
    """A row of the table of the images of a run that fitted several."""
    shape, regions, parameters, ssim = (of.get(key) for key in ("shape", "regions", "parameters", "ssim"))
    return {
        "name": name,
        "size": "×".join(map(str, shape[:-1])) if isinstance(shape, list) else "",
        "regions": f"{regions:,}" if isinstance(regions, int) else "",
        "parameters": f"{parameters:,}" if isinstance(parameters, int) else "",
        "psnr": _decibels(of.get("psnr")).removesuffix(" dB"),
        "ssim": write(ssim, fixed(3)) if isinstance(ssim, float) else ABSENT,
    }


def _decibels(psnr: Any) -> str:
    return f"{write(psnr, fixed(2))} dB" if isinstance(psnr, (int, float)) else ABSENT


# -- runs -----------------------------------------------------------------------------------------------------------


_SAFE_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Writes the same as the other, ten times faster where PyYAML was built with libyaml."""


def _run(record: RunRecord) -> dict[str, Any]:
    """What the page says of one run."""
    manifest = record.manifest
    psnr = record.final("psnr")
    versions = manifest.get("versions")
    memory = record.number("peak_memory_bytes")
    clocks = manifest.get("seconds")
    seconds = {
        str(key): value
        for key in (clocks if isinstance(clocks, Mapping) else ())
        if (value := record.number("seconds", str(key))) is not None
    }
    facts = {
        "folder": str(record.path),
        "command": shlex.join(["partinr", *record.overrides]) if record.status != "damaged" else "",
        "seed": "" if record.seed is None else str(record.seed),
        "steps": _steps(record),
        "seconds": ", ".join(f"{key} {write(value, significant)}" for key, value in seconds.items()),
        "peak memory": "" if memory is None else f"{write(memory, si)}B{' (rank 0)' * (devices_of(record) > 1)}",
        "hardware": _hardware(record),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else "",
        "commit": commit_of(record),
        "started": str(manifest.get("started") or ""),
        "finished": str(manifest.get("finished") or ""),
        "config hash": str(manifest.get("config_hash") or ""),
    }
    config = (
        yaml.dump(dict(record.config), Dumper=_SAFE_DUMPER, sort_keys=False, allow_unicode=True)
        if record.config
        else ""
    )
    return {
        "record": record,
        "psnr": "" if psnr is None else f"{write(psnr, fixed(2))} dB",
        "after": f"after {record.inner_steps} inner steps, of held-out signals" if record.inner_steps else "",
        "facts": {key: value for key, value in facts.items() if value},
        "config": config,
    }


def _steps(record: RunRecord) -> str:
    steps = record.number("steps")
    steps = record.last("step") if steps is None else steps
    if steps is None:
        return ""
    stop = record.manifest.get("stop")
    said = f"{steps:,.0f}" + (f", ended by {stop}" if stop and record.status == "completed" else "")
    # Runs of before there was such a thing do not say.
    frozen, saved = record.number("frozen_regions"), record.number("seconds", "saved")
    if frozen:
        said += f", {frozen:,.0f} regions finished early" + (f", {saved:.1f} s saved" if saved else "")
    return said


def _hardware(record: RunRecord) -> str:
    hardware = record.manifest.get("hardware")
    cores = hardware.get("cores") if isinstance(hardware, Mapping) else None
    device = hardware.get("device") if isinstance(hardware, Mapping) else None
    parts = [machine_of(record), f"{cores} cores" if cores else "", f"device {device}" if device else ""]
    return ", ".join(part for part in parts if part)
