"""The report as one HTML file that needs nothing else: no network, no server, no folder beside it."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import matplotlib.colors
import numpy as np
import yaml
from markupsafe import Markup
from PIL import Image

from partinr.errors import PartinrError
from partinr.files import write_atomically
from partinr.pictures import ERROR_COLORMAP, ERROR_RANGE
from partinr.report.groups import Group, Study, Versus, commit_of, devices_of, machine_of
from partinr.report.palette import SLOTS, Style, contrast_with, styles
from partinr.report.records import Axis, RunRecord
from partinr.report.table import ABSENT, LEVELS, Column, Row, columns_of, fixed, lone_of, rows, si, significant, write
from partinr.run import ADAPTATION, ERROR, IMAGE, PARTITION, RECONSTRUCTION, of_image

PICTURE_BUDGET = 24_000_000
"""Bytes that all pictures of a page may come to, about; beyond it they are shown smaller."""

PICTURE_LIMIT = 600_000
"""Bytes of one picture that is shown as it is, when the budget allows."""

PICTURE_SIDE = 720
"""Longer side, in pixels, of a picture that is shown smaller than it is."""

SHEET_SIDE = 2000
"""The same of a sheet of pictures with words."""

GALLERY = 24
"""Of a run that fitted several images, so many reconstructions are shown."""

DIGITS = 6
"""Significant digits of the curves on the page: a hundredth of what a screen can show, and half the bytes."""


def write_html(records: Sequence[RunRecord], path: str | Path, title: str | None = None) -> Path:
    """Write the report of ``records``.

    Args:
        records: runs, as of :func:`~partinr.report.records.collect`.
        path: the file; replaced in one step.
        title: of the page; by default it is made of the images' names.

    Returns:
        ``path``.

    Raises:
        PartinrError: the file cannot be written.
    """
    path = Path(path)
    fits, learned = Study.of(records), Study.of(records, "initialisation")
    page = _template().render(_context(records, fits, learned, title or _title([fits, learned])))
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise PartinrError(f"cannot write the report {path}: {error.strerror}; choose another place with -o") from error
    return path


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "allow_nan": False,
        "separators": (",", ":"),
    }
    return environment.get_template("template.html")


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


def _context(records: Sequence[RunRecord], study: Study, learned: Study, title: str) -> dict[str, Any]:
    # Slow to import, and only a page needs it.
    from plotly.offline import get_plotlyjs

    table = rows(study)
    style = _styles(study)
    medians = [record for group in study.groups if (record := group.median())]
    store = PictureStore(sum(min(GALLERY, len(record.images)) or 4 for record in medians) + len(learned.groups))
    studies = (study, learned)
    return {
        "title": title,
        "made": datetime.now().astimezone(),
        "study": study,
        "learned": _learned(learned, store),
        "count": _count(records, studies),
        "records": records,
        "group_count": sum(len(each.groups) for each in studies),
        "style": style,
        "slots": SLOTS,
        # Where all has gone well, a column that says so takes room from the others.
        "states": any(group.state != "completed" for group in study.groups),
        "notices": list(dict.fromkeys(notice for each in studies for notice in each.notices)),
        "unfinished": [_run(record) for record in records if record.status != "completed"],
        "repeated": [_run(record) for each in studies for record in each.repeated()],
        "tables": [_table("results", table, study), _table("convergence", table, study)],
        "tiles": {image: _tiles([row for row in table if row.group.image == image]) for image in study.images},
        "remarks": {image: _remarks([row for row in table if row.group.image == image]) for image in study.images},
        "pictures": {image: [_pictures(group, store) for group in study.on(image)] for image in study.images},
        "error_scale": _error_scale(),
        "error_range": ERROR_RANGE,
        "runs": [_run(record) for record in records],
        "data": {
            "images": [_curves(image, table, style) for image in study.images],
            "learned": [_learning_curves(image, learned) for image in learned.images],
        },
        "store": store.uris,
        "plotly": Markup(get_plotlyjs()),
    }


def _styles(study: Study) -> dict[str, Style]:
    """How the groups of a study are drawn."""
    labels = study.labels
    return styles(labels, contrast_with(labels, {group.label: group.regions for group in study.groups}))


# -- tables ---------------------------------------------------------------------------------------------------------


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
    return {"key": key, "columns": columns, "spans": spans, "starts": starts, "bodies": bodies}


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
    ratios_shown: tuple[tuple[str, Axis, str], ...] = (
        ("lone_step_ratio", "step", "speed-up in steps"),
        ("lone_time_ratio", "seconds", "speed-up in training time"),
    )
    for key, axis, what in ratios_shown:
        ratios = [(mean, row, versus) for row, versus in compared if (mean := versus.ratio[axis].mean) is not None]
        if ratios:
            _, row, versus = max(ratios, key=lambda found: found[0])
            note = f"to the {versus.level:.2f} dB at which {versus.lone.label} ended"
            tiles.append(Tile(key, f"{row.cells[key].text}×", what, row.group.label, note))
        else:
            tiles.append(_tile_below(compared, key, axis, what))
    gains = [(mean, row, versus) for row, versus in compared if (mean := versus.gain.mean) is not None]
    if gains:
        gain, row, versus = max(gains, key=lambda found: found[0])
        number = f"{'+' if gain >= 0 else '−'}{write(abs(gain), fixed(2))} dB"
        tiles.append(Tile("gain", number, "PSNR at the end", row.group.label, f"against {versus.lone.label}"))
    return tiles


def _tile_below(compared: Sequence[tuple[Row, Versus]], key: str, axis: Axis, what: str) -> Tile:
    """Where no group came to the lone network's end: the speed-up to the highest level that one of them came to."""
    lone = compared[0][1].lone.label
    for level in reversed(LEVELS):
        found = []
        for row, versus in compared:
            alone, parts = (_effort(group, level, axis) for group in (versus.lone, row.group))
            if alone is not None and parts:
                found.append((alone / parts, row))
        if found:
            ratio, row = max(found, key=lambda pair: pair[0])
            note = f"to {level} dB; no group came, with every seed, to the PSNR at which {lone} ended"
            return Tile(key, f"{write(ratio, significant)}×", what, row.group.label, note)
    return Tile(key, ABSENT, what, "", f"no group came, with every seed, to the PSNR at which {lone} ended")


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


def _learned(study: Study, store: PictureStore) -> dict[str, Any] | None:
    """What the page says of the runs that learned an initialisation; None if there are none."""
    if not study.groups:
        return None
    table = rows(study)
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


def _learning_curves(image: str, study: Study) -> dict[str, Any]:
    """The two curves of a set of held-out signals: PSNR against outer steps, and against inner ones at the end."""
    style = _styles(study)
    found = _curves(image, [row for row in rows(study) if row.group.image == image], style)
    inner = []
    for group in study.on(image):
        curve = group.inner_curve()
        trained = group.inner_steps
        inner.append(
            {
                **_drawn(group, style[group.label]),
                "mean": {
                    "inner": list(range(curve.psnr.size)),
                    "psnr": _numbers(curve.psnr),
                    "std": None if curve.std is None else _numbers(curve.std),
                },
                "crossing": {"inner": trained, "psnr": _number(float(curve.psnr[trained]))}
                if trained is not None and trained < curve.psnr.size
                else None,
                "runs": [],
            }
        )
    return {"name": image, "outer": found, "inner": {"name": image, "series": inner, "level": None}}


# -- curves ---------------------------------------------------------------------------------------------------------


def _drawn(group: Group, style: Style) -> dict[str, Any]:
    """How a group is drawn, whatever is drawn of it."""
    return {
        "label": group.label,
        "slot": style.slot,
        "dash": style.dash,
        "state": group.state if group.provisional else "",
    }


def _curves(image: str, table: Sequence[Row], style: Mapping[str, Style]) -> dict[str, Any]:
    series = []
    lone = lone_of(table, image)
    for row in table:
        group = row.group
        if group.image != image:
            continue
        mean = group.mean_curve()
        versus = row.versus
        reached = lone and versus and lone is not versus and all(stat.mean for stat in versus.effort.values())
        series.append(
            {
                **_drawn(group, style[group.label]),
                "mean": {
                    "step": _numbers(mean.step),
                    "seconds": _numbers(mean.seconds),
                    "macs": _numbers(mean.macs),
                    "psnr": _numbers(mean.psnr),
                    "std": None if mean.std is None else _numbers(mean.std),
                },
                "crossing": {axis: _number(stat.mean) for axis, stat in versus.effort.items()}
                | {"psnr": _number(versus.level)}
                if versus and reached
                else None,
                "runs": [
                    {
                        "seed": record.seed,
                        "complete": record.status == "completed",
                        **{name: _numbers(record.curve[name]) for name in ("step", "seconds", "macs", "psnr")},
                    }
                    for record in group.records
                    # A lone counted run is its own mean.
                    if record.curve["step"].size and (group.n > 1 or record not in group.counted)
                ],
            }
        )
    return {"name": image, "series": series, "level": lone and {"psnr": _number(lone.level)}}


def _number(value: float | None) -> float | None:
    """``value`` in few digits; None for what JSON cannot say."""
    return float(f"{value:.{DIGITS}g}") if value is not None and math.isfinite(value) else None


def _numbers(values: Any) -> list[float | int | None]:
    rounded = [_number(float(value)) for value in values]
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]


# -- pictures -------------------------------------------------------------------------------------------------------


@dataclass
class PictureStore:
    """Pictures as data URIs, each once however often it is shown."""

    expected: int
    """How many pictures there may be."""
    uris: dict[str, str] = field(default_factory=dict)

    def add(self, path: Path, side: int = PICTURE_SIDE) -> dict[str, Any] | None:
        """Take in a picture file: its key and its size [pixels] on the page; None if there is no sound file.

        One of too many bytes is made so small that its longer side has ``side`` pixels.
        """
        try:
            raw = path.read_bytes()
        except OSError:
            return None
        allowance = min(PICTURE_LIMIT, PICTURE_BUDGET // max(self.expected, 1))
        key = hashlib.sha256(raw).hexdigest()[:16]
        try:
            with warnings.catch_warnings():
                # A large picture is the user's own and is made small here.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(raw)) as picture:
                    picture.load()
                    kind = picture.get_format_mimetype()
                    size = picture.size
                    if len(raw) > allowance:
                        small = picture.convert("RGB")
                        small.thumbnail((side, side), Image.Resampling.LANCZOS)
                        buffer = io.BytesIO()
                        small.save(buffer, "WEBP", quality=90)
                        raw, kind, size = buffer.getvalue(), "image/webp", small.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            # Pillow's own names for a damaged file.
            return None
        self.uris[key] = f"data:{kind};base64,{base64.b64encode(raw).decode()}"
        return {"key": key, "width": size[0], "height": size[1]}


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


def _error_scale() -> str:
    """The colours of the error pictures as a CSS gradient."""
    colours = [matplotlib.colors.to_hex(matplotlib.colormaps[ERROR_COLORMAP](share)) for share in np.linspace(0, 1, 9)]
    return f"linear-gradient(to right, {', '.join(colours)})"


# -- runs -----------------------------------------------------------------------------------------------------------


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
    config = yaml.safe_dump(dict(record.config), sort_keys=False, allow_unicode=True) if record.config else ""
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
    frozen, saved = record.manifest.get("frozen_regions", 0), record.manifest["seconds"].get("saved")
    if frozen:
        said += f", {frozen:,} regions finished early" + (f", {saved:.1f} s saved" if saved else "")
    return said


def _hardware(record: RunRecord) -> str:
    hardware = record.manifest.get("hardware")
    cores = hardware.get("cores") if isinstance(hardware, Mapping) else None
    device = hardware.get("device") if isinstance(hardware, Mapping) else None
    parts = [machine_of(record), f"{cores} cores" if cores else "", f"device {device}" if device else ""]
    return ", ".join(part for part in parts if part)
