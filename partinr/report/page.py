"""The report as one self-contained HTML file, without network, server or further files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from partinr.base.files import write_output
from partinr.base.section import Table
from partinr.base.text import utf8
from partinr.pictures.palette import SLOTS, Style
from partinr.report.against import against_lone
from partinr.report.columns import Column, columns_of, tables_of
from partinr.report.comparison import Comparison
from partinr.report.groups import Group, Study, studies_of
from partinr.report.notices import UNDER_WAY, states
from partinr.report.panels import GALLERY, pictures_of, run_of
from partinr.report.payload import payload
from partinr.report.significance import RULE, SEEN_APART, marked
from partinr.report.table import Row, rows
from partinr.report.templates import error_legend, template
from partinr.report.thumbnails import PICTURE_BUDGET, PictureCache, PictureStore
from partinr.report.tiles import remarks_of, tiles_of
from partinr.runs.records import RunRecord
from partinr.runs.sharing import SIGN

FEW = 48
"""Number of runs up to which pictures have full size. With more, they share the rest of :data:`PAGE_BUDGET`."""

PAGE_BUDGET = 9_000_000
"""Size of a page of many runs in bytes, small enough for a network drive or an email."""

EXPLORED = 5
"""Number of runs from which the page has a filter."""

ROWS_IN_HTML = 60
"""Number of groups up to which tables are in the page's HTML. With more, the script writes the visible rows."""

LONGEST_TITLE = 80
"""Limit of characters of group names in the page's title; the legend has all names."""

_RANDOM_START = (
    " Speed-up to the random start's PSNR: the effort of the same fit from random weights to the PSNR at which it "
    "ended, over that from the learned start to the same PSNR; what learning the start took is not counted."
)

_SHARED = f" {SIGN}: measured while other work shared the machine. Compare steps or CPU seconds."


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
        title: title of the page; by default it has the images' names.
        refresh: seconds after which an open page reloads itself; None for a page that does not.
        cache: pictures of an earlier page, to be reused.

    Returns:
        ``path``.

    Raises:
        PartinrError: the file cannot be written.
    """
    path = Path(path)
    studies = [study.in_words() for study in studies_of(records)]
    page = template("template.html").render(
        _context(records, studies, title or _title(studies), refresh, {} if cache is None else cache)
    )
    write_output(path, utf8(page))
    return path


def write_comparison(comparison: Comparison, path: Path, stage: Mapping[str, Any] | None, note: str = "") -> Path:
    """Write the page of a comparison: the report of its runs, each in a group of its own, and what only few can have.

    Args:
        comparison: the runs.
        path: the file; replaced in one step.
        stage: the fits under a slider, as of :func:`~partinr.report.viewer.stage_of`; None without.
        note: why there is no slider.

    Returns:
        ``path``.

    Raises:
        PartinrError: the file cannot be written.
    """
    studies, names = comparison.studies, comparison.names
    images = dict.fromkeys(group.image for study in studies for group in study.groups)
    title = f"{', '.join(images)}: {names[0]} against {', '.join(names[1:])}"
    context = _context(comparison.records, studies, title, None, {})
    # Runs on different images are drawn in one chart.
    context["data"]["image"] = 0 if comparison.one_image else "all"
    context |= {"comparison": comparison, "stage": stage, "stage_note": note, "maker": "partinr compare"}
    write_output(path, utf8(template("template.html").render(context)))
    return path


def _title(studies: Sequence[Study]) -> str:
    """A title that says what was compared on which images."""
    said = []
    for study in (each for each in studies if each.groups):
        labels, images = study.labels, study.images
        names = ", ".join(labels)
        what = names if len(labels) <= 4 and len(names) <= LONGEST_TITLE else f"{len(labels)} configurations"
        said.append(f"{', '.join(images) if len(images) <= 3 else _plural(len(images), *study.subject.words)}: {what}")
    return "; ".join(said) or "No readable run"


def _count(records: Sequence[RunRecord], studies: Sequence[Study]) -> str:
    """Numbers of runs, groups and images, in words."""
    groups = sum(len(study.groups) for study in studies)
    fits, *further = studies
    on = (
        [_plural(len(fits.images), *fits.subject.words)]
        if fits.images or not any(each.images for each in further)
        else []
    )
    on += [_plural(len(each.images), *each.subject.words) for each in further if each.images]
    return f"{_plural(len(records), 'run', 'runs')} in {_plural(groups, 'group', 'groups')} on {' and '.join(on)}"


def _plural(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _context(
    records: Sequence[RunRecord], studies: Sequence[Study], title: str, refresh: float | None, cache: PictureCache
) -> dict[str, Any]:
    # Slow to import, and only needed for a page.
    from plotly.offline import get_plotlyjs

    fits = studies[0]
    tables = [marked(rows(study), columns_of(study))[0] for study in studies]
    looks = [study.styles for study in studies]
    keys = ["fits" if study.section is None else study.section.key for study in studies]
    section_of = {record: study.section for study in studies for record in study.records}
    runs = [run_of(record, section_of[record]) for record in records]
    data = payload(
        records,
        dict(zip(keys, zip(studies, tables, looks, strict=True), strict=True)),
        [(run["facts"], run["config"]) for run in runs],
    )
    plotly = get_plotlyjs()
    store = PictureStore(_expected(studies), _budget(data, studies, len(plotly)), cache)
    searches = [data["studies"][key]["search"] is not None for key in keys]
    parts = [_part(*each, store) for each in zip(keys, studies, tables, looks, searches, strict=True)]
    first = tables[0]
    context = {
        "title": title,
        "made": datetime.now().astimezone(),
        "refresh": refresh,
        "study": fits,
        "fits": parts[0],
        "against": against_lone(fits),
        "further": [part for part in parts[1:] if part["study"].groups],
        "count": _count(records, studies),
        "states_count": states(records),
        "records": records,
        "group_count": sum(len(each.groups) for each in studies),
        "slots": SLOTS,
        "notices": list(dict.fromkeys(notice for each in studies for notice in each.notices)),
        "unfinished": [run for run in runs if run["record"].status not in ("completed", "queued")],
        "queued": sum(record.status == "queued" for record in records),
        "under_way": all(record.status in UNDER_WAY for record in records if record.status != "completed"),
        "tiles": {image: tiles_of([row for row in first if row.group.image == image]) for image in fits.images},
        "remarks": {image: remarks_of([row for row in first if row.group.image == image]) for image in fits.images},
        **error_legend(),
        "comparison": None,
        "maker": "partinr report",
        "runs": runs,
        "rows_in_html": ROWS_IN_HTML,
        "few": FEW,
        "explorable": len(records) >= EXPLORED,
        "sign": SIGN,
        "timed": any(record.timed for record in records),
        "rated": any(record.rates for group in fits.groups for record in group.records),
        "rated_several": any(record.rates and record.images for group in fits.groups for record in group.records),
        "data": data,
        "store": store.uris,
        "plotly": Markup(plotly),
    }
    store.forget()
    return context


def _expected(studies: Sequence[Study]) -> int:
    """Upper bound of the number of pictures; groups on one image share it."""
    medians = [record for study in studies for group in study.groups if (record := group.median())]
    each = sum(1 if "sheet" in record.regime.files else min(GALLERY, len(record.images)) or 3 for record in medians)
    return len(studies[0].images) + each


def _budget(data: Mapping[str, Any], studies: Sequence[Study], script: int) -> int:
    """Bytes for pictures before they are encoded as text."""
    if len(data["runs"]) <= FEW:
        return PICTURE_BUDGET
    groups = sum(len(study.groups) for study in studies)
    rest = len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
    # Size of the HTML of a group's pictures, rows and panel, and of a run's line.
    rest += script + 3_000 * groups + 15_000 * min(groups, ROWS_IN_HTML) + 500 * len(data["runs"])
    return max(PAGE_BUDGET - rest, 0) * 3 // 4


def _part(
    key: str, study: Study, table: Sequence[Row], style: Mapping[str, Style], search: bool, store: PictureStore
) -> dict[str, Any]:
    """The page's data for one study. The pictures of a search are in the order of their quality."""
    tables = tables_of(study)
    return {
        "key": key,
        "study": study,
        "section": study.section,
        "style": style,
        # If all runs have completed, a column that says so only takes space.
        "states": any(group.state != "completed" for group in study.groups),
        "tables": [made for each in tables if (made := _table(each, table, study))["columns"]],
        "scaled": any(
            record.at("signal.error_scale") is not False for group in study.groups for record in group.records
        ),
        "pictures": {
            image: [
                pictures_of(group, store, study.section)
                for group in (sorted(study.on(image), key=rank) if search else study.on(image))
            ]
            for image in study.images
        },
    }


def rank(group: Group) -> tuple[bool, float]:
    """The place of a group among others, the best first: those that have not completed come last."""
    run = group.median()
    quality = None if run is None else run.final(group.leading.key)
    return group.provisional, math.inf if quality is None else -quality


def _table(about: Table, table: Sequence[Row], study: Study) -> dict[str, Any]:
    columns = [column for column in columns_of(study) if column.table == about.key]
    spans: list[tuple[str, int]] = []
    starts = set()
    before: Column | None = None
    for column in columns:
        if before is None or before.span != column.span:
            spans.append((column.span, 0))
            starts.add(column.key)
        spans[-1] = (column.span, spans[-1][1] + 1)
        before = column
    random = any(column.against == "random" for column in columns)
    shared = any(row.cells[column.key].shared for row in table for column in columns)
    several = len({row.group.seen for row in table}) > 1
    bold = any(row.cells[column.key].best for row in table for column in columns)
    return {
        "key": about.key,
        "title": about.title,
        "caption": about.caption
        + (f" {RULE}" + SEEN_APART * several) * bold
        + _RANDOM_START * random
        + _SHARED * shared,
        "columns": columns,
        "spans": spans,
        "starts": starts,
        "bodies": [(image, [row for row in table if row.group.image == image]) for image in study.images],
    }
