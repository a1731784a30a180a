"""The view of a search: settings, results, and how much of the results each setting explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from partinr.report.columns import Column, columns_of
from partinr.report.curves import Numbers
from partinr.report.groups import Study
from partinr.runs.records import RunRecord
from partinr.runs.swept import Swept, swept

FEWEST = 5
"""Number of completed runs of an image from which the importance of settings is known."""


def search_of(study: Study, runs: Mapping[RunRecord, dict[str, Any]]) -> dict[str, Any] | None:
    """The data of the view: settings, metrics, and importance by metric and number of the image; None for no search.

    Args:
        study: the runs; each entry of ``runs`` gets the values of the settings as ``search``.
        runs: the page's entry of each run, with ``values``, ``image``, ``status`` and ``repeated``.
    """
    flats = list({id(group.flat): group.flat for group in study.groups}.values())
    # What differs only between signals is no search.
    keys = {each.key for image in study.images for each in swept([group.flat for group in study.on(image)])}
    settings = [each for each in swept(flats) if each.key in keys]
    metrics = [(place, column) for place, column in enumerate(columns_of(study)) if _is_result(column, study)]
    # The page opens on the first: a quality, as a rule PSNR, before a cost.
    metrics.sort(key=lambda metric: metric[1].better == "low")
    if not settings or not metrics:
        return None
    places = {id(flat): place for place, flat in enumerate(flats)}
    for group in study.groups:
        for record in group.records:
            runs[record]["search"] = [each.values[places[id(group.flat)]] for each in settings]
    counted = [
        run
        for group in study.groups
        for record in group.records
        if (run := runs[record])["status"] == "completed" and not run["repeated"]
    ]
    return {
        "settings": [
            {"name": each.name, "key": each.key, "log": each.log, "numbers": each.numbers, "words": each.words}
            for each in settings
        ],
        "metrics": [
            {"key": column.key, "index": place, "title": column.title, "form": column.form, "better": column.better}
            for place, column in metrics
        ],
        "importance": {
            column.key: [
                _importances(settings, place, [run for run in counted if run["image"] == image])
                for image in range(len(study.images))
            ]
            for place, column in metrics
        },
    }


def _is_result(column: Column, study: Study) -> bool:
    """Whether a column is a result of a run by itself, which may be better or worse."""
    first = "results" if study.section is None else study.section.tables[0].key
    return column.better is not None and not column.is_effort and not column.words and column.table == first


def _importances(settings: Sequence[Swept], metric: int, runs: Sequence[Mapping[str, Any]]) -> list[float | None]:
    results = [run["values"][metric] for run in runs]
    return [importance([run["search"][at] for run in runs], results) for at in range(len(settings))]


def importance(values: Sequence[float | str | None], results: Sequence[object]) -> float | None:
    """The share of the variance of the results' ranks that a setting alone explains, from 0 to 1.

    For numbers, a parabola through the ranks of the values explains it, so that an optimum in the middle counts as
    well; for words, the mean of each. The share is adjusted for the number of runs.

    Args:
        values: the value of the setting in each run; a run without one is left out.
        results: the result of each run, likewise.

    Returns:
        The share; None with fewer than :data:`FEWEST` runs, or if the values do not differ.
    """
    known = [
        (value, float(result))
        for value, result in zip(values, results, strict=True)
        if value is not None and isinstance(result, (int, float))
    ]
    given = [value for value, _ in known]
    distinct = sorted(set(given), key=str)
    if len(known) < FEWEST or len(distinct) < 2:
        return None
    y = _ranks(np.array([result for _, result in known]))
    if isinstance(given[0], str):
        terms = np.array([[value == each for each in distinct] for value in given], dtype=float)
    else:
        x = _ranks(np.array(given, dtype=float))
        terms = np.vander(x / x.max(), min(3, len(distinct)))
    left = len(known) - terms.shape[1]
    total = float(((y - y.mean()) ** 2).sum())
    if left < 1 or total == 0:
        return None
    fit = terms @ np.linalg.lstsq(terms, y, rcond=None)[0]
    unexplained = float(((y - fit) ** 2).sum()) / total
    return round(max(0.0, 1 - unexplained * (len(known) - 1) / left), 3)


def _ranks(values: Numbers) -> Numbers:
    """Ranks from 1; equal values share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Numbers = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks
