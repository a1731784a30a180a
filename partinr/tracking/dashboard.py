"""The comparison of a study on W&B as code: a workspace to explore, and a report to show.

Runs with one partition, backbone and regime form a group over their seeds. The group's curve is their mean with a band
of one standard deviation.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from partinr.base.errors import PartinrError
from partinr.pictures.curves import AXES as AXIS_TITLES
from partinr.runs.configs import flatten, without_image
from partinr.runs.directory import RunDirectory
from partinr.runs.swept import Swept, swept
from partinr.tracking.logger import Wandb
from partinr.tracking.server import Unreachable
from partinr.tracking.summary import AXES, LEVELS, PICTURES, summary
from partinr.tracking.sync import settings_of
from partinr.tracking.words import GROUPED_BY, METHOD

COST = {"steps" if axis == "step" else axis: title for axis, title in AXIS_TITLES.items()}
CURVES = {"psnr": "PSNR [dB]", "ssim": "SSIM", "loss": "loss"}
MOST_LEVELS = 3
"""Number of PSNR levels with bars: the highest ones that most runs reach."""


@dataclass(frozen=True)
class Study:
    """The runs that the panels show.

    Attributes:
        title: heading of the report.
        settings: project, entity and group under which the runs are filed.
        levels: PSNR levels of the bars [dB].
        pictures: keys of :data:`partinr.tracking.summary.PICTURES` that the runs have.
        runs: number of runs.
        search: the settings of a search over numbers; empty for another study.
    """

    title: str
    settings: Wandb
    levels: tuple[int, ...]
    pictures: tuple[str, ...]
    runs: int
    search: tuple[Swept, ...]

    @classmethod
    def of(cls, runs: Sequence[RunDirectory], title: str, **instead: Any) -> Study:
        """The study of some run directories.

        Args:
            runs: at least one.
            title: heading of the report, if the runs belong to no group.
            **instead: ``project``, ``entity`` and ``group`` to use; None takes those of the runs.

        Raises:
            PartinrError: a run is damaged, or the runs are filed under several projects or groups.
        """
        configs = [run.config() for run in runs]
        found = [settings_of(config, **instead) for config in configs]
        for key in ("project", "entity", "group"):
            values = dict.fromkeys(getattr(each, key) for each in found)
            if len(values) > 1:
                raise PartinrError(
                    f"the runs are filed under several values of {key}: {', '.join(map(str, values))}; "
                    f"give --{key}, and the same to partinr sync"
                )
        reached = [0] * len(LEVELS)
        pictures = dict.fromkeys(PICTURES, False)
        for run in runs:
            figures = summary(run.manifest(), run.curve())
            for at, level in enumerate(LEVELS):
                reached[at] += f"steps_to/{level}dB" in figures
            for name, file in PICTURES.items():
                pictures[name] = pictures[name] or next(run.path.glob(f"images/*/{file}"), run.file(file)).is_file()
        most = [level for level, count in zip(LEVELS, reached, strict=True) if 2 * count > len(runs)]
        some = [level for level, count in zip(LEVELS, reached, strict=True) if count]
        return cls(
            title=found[0].group or title,
            settings=found[0],
            levels=tuple((most or some)[-MOST_LEVELS:]),
            pictures=tuple(name for name, there in pictures.items() if there),
            runs=len(runs),
            search=tuple(swept([without_image(flatten(config, config.get("seed"))) for config in configs])),
        )


class Dashboard:
    """The workspace and the report of a study.

    Args:
        study: the runs to show.

    Raises:
        PartinrError: the package ``wandb-workspaces`` is missing.
    """

    def __init__(self, study: Study) -> None:
        try:
            with warnings.catch_warnings():
                # The package uses deprecated parts of pydantic, which users cannot change.
                warnings.simplefilter("ignore", DeprecationWarning)
                import wandb_workspaces.reports.v2 as reports
                import wandb_workspaces.workspaces as workspaces
        except ImportError as error:
            raise PartinrError(
                "partinr dashboard needs the package wandb-workspaces; "
                "install it with: pip install 'partinr[dashboard]'"
            ) from error
        self._reports = reports
        self._workspaces = workspaces
        self.study = study
        self.workspace = self._workspace()
        self.report = self._report()

    def spec(self) -> dict[str, Any]:
        """Workspace and report as the plain containers that the server receives."""
        return {
            "project": self.study.settings.project,
            "entity": self.study.settings.entity,
            "group": self.study.settings.group,
            "workspace": _plain(self.workspace._to_model()),
            "report": _plain(self.report._to_model()),
        }

    def save(self) -> dict[str, str]:
        """Save workspace and report on the server.

        Returns:
            their addresses, as ``workspace`` and ``report``.

        Raises:
            Unreachable: the server does not answer, or refuses.
        """
        try:
            return {"workspace": self.workspace.save().url, "report": self.report.save().url}
        except Exception as error:
            raise Unreachable(f"W&B did not take it: {' '.join(str(error).split())[:200]}") from error

    def _workspace(self) -> Any:
        ws = self._workspaces
        study = self.study
        # Trials of a search would be one group.
        grouped = [] if study.search else GROUPED_BY
        return ws.Workspace(
            entity=study.settings.entity or "",
            project=study.settings.project,
            name=study.title,
            sections=[
                ws.Section(
                    name=name, panels=panels, is_open=True, layout_settings=ws.SectionLayoutSettings(columns=len(AXES))
                )
                for name, panels in self._panels(grouped=not grouped).items()
            ],
            settings=ws.WorkspaceSettings(x_axis="step", max_runs=100),
            runset_settings=ws.RunsetSettings(
                filters=self._filters(),
                # The panels follow the table of runs, in which each group is a curve.
                groupby=[ws.Config(key) for key in grouped],
                order=[ws.Ordering(ws.Summary("psnr"), ascending=False)] if study.search else [],
                pinned_columns=[
                    f"config:{_place(key)}"
                    for key in (*GROUPED_BY, *(each.key for each in study.search if each.numbers))
                ]
                + [f"summary:{key}" for key in ("psnr", "ssim", "parameters", "status")],
            ),
        )

    def _filters(self) -> str:
        """The runs of the study as W&B's filter; empty for all runs of the project."""
        name = self.study.settings.group
        return "" if name is None else f"Metric('Group') == {json.dumps(name)}"

    def _report(self) -> Any:
        wr = self._reports
        study = self.study
        order = [wr.OrderBy("psnr", ascending=False)] if study.search else []
        runset = wr.Runset(name=study.title, filters=self._filters(), order=order)
        blocks: list[Any] = [wr.TableOfContents()]
        for name, panels in self._panels(grouped=True).items():
            blocks += [wr.H2(text=name), wr.P(text=_ABOUT[name]), wr.PanelGrid(runsets=[runset], panels=panels)]
        count = "1 run" if study.runs == 1 else f"{study.runs:,} runs"
        return wr.Report(
            project=study.settings.project,
            # If it were missing, the package would ask the server.
            entity=study.settings.entity or "",
            title=study.title[:128],
            description=f"{count}, compared by partition, backbone and regime",
            blocks=blocks,
            width="fluid",
        )

    def _panels(self, grouped: bool) -> dict[str, list[Any]]:
        """The panels of each section.

        Args:
            grouped: whether the panels group the runs themselves, on a page without a table of runs.
        """
        wr = self._reports
        by = {"groupby": wr.Config(METHOD), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
        grouping = by if grouped else {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev", "aggregate": True}
        sections: dict[str, list[Any]] = {}
        layouts = _Tiles(wr, len(AXES))
        sections[CONVERGENCE] = [
            wr.LinePlot(
                title=f"{title} against {AXIS_TITLES[axis]}",
                x=axis,
                y=[metric],
                title_x=AXIS_TITLES[axis],
                title_y=title,
                log_y=metric == "loss",
                max_runs_to_show=100,
                layout=layouts.next(),
                **grouping,
            )
            for metric, title in CURVES.items()
            for axis in AXES
        ]
        sections[SEARCH] = self._search()
        layouts = _Tiles(wr, len(COST) + 1)
        sections[QUALITY] = [
            # A bar plot always needs its own grouping.
            wr.BarPlot(title=title, metrics=[metric], title_x=axis, layout=layouts.next(), **by)
            for level in self.study.levels
            for title, metric, axis in (
                (f"share of runs that reach {level} dB", f"reached/{level}dB", "share of runs"),
                *((f"{title} to {level} dB", f"{cost}_to/{level}dB", title) for cost, title in COST.items()),
            )
        ]
        layouts = _Tiles(wr, 3)
        sections[LOOKS] = [
            wr.MediaBrowser(title=name, media_keys=[name], num_columns=4, layout=layouts.next())
            for name in self.study.pictures
        ]
        return {name: panels for name, panels in sections.items() if panels}

    def _search(self) -> list[Any]:
        """PSNR against each number that differs, all of them as parallel coordinates, and their importance."""
        wr, layouts = self._reports, _Tiles(self._reports, 3)
        psnr = wr.SummaryMetric("psnr")
        numbers = [each for each in self.study.search if each.numbers]
        if not numbers:
            return []
        words = [f"{each.key}_name" for each in self.study.search if f"{each.key}_name" in GROUPED_BY]
        column = wr.ParallelCoordinatesPlotColumn
        return [
            *(
                wr.ScatterPlot(
                    title=f"PSNR against {each.name}",
                    x=wr.Config(each.key),
                    y=psnr,
                    log_x=each.log,
                    layout=layouts.next(),
                )
                for each in numbers
            ),
            wr.ParallelCoordinatesPlot(
                title="all settings",
                columns=[
                    *(column(wr.Config(word)) for word in words),
                    *(column(wr.Config(each.key), display_name=each.name, log=each.log) for each in numbers),
                    column(psnr, display_name="PSNR [dB]"),
                ],
                layout=layouts.whole(),
            ),
            wr.ParameterImportancePlot(with_respect_to="psnr", layout=layouts.whole()),
        ]


CONVERGENCE, SEARCH, QUALITY, LOOKS = "Convergence", "Search", "Time to quality", "Pictures"
_ABOUT = {
    CONVERGENCE: "Mean over the seeds of each partition, backbone and regime; the band is one standard deviation. "
    "Seconds and CPU seconds are those of training only.",
    SEARCH: "Each point and each line is a run. The table of runs is sorted by PSNR.",
    QUALITY: "The share of the runs whose PSNR reached a level, and the mean cost of those that did. Where the share "
    "is below 1, the cost leaves out the runs that never arrived.",
    LOOKS: "For each run: its regions, its final reconstruction, and the error.",
}


class _Tiles:
    """Positions of panels, some in each row of W&B's grid of 24 columns."""

    def __init__(self, reports: Any, a_row: int) -> None:
        self._layout = reports.Layout
        self._a_row = a_row
        self._count = 0

    def next(self) -> Any:
        row, column = divmod(self._count, self._a_row)
        self._count += 1
        width = 24 // self._a_row
        return self._layout(x=width * column, y=6 * row, w=width, h=6)

    def whole(self) -> Any:
        """A row of its own."""
        row = -(-self._count // self._a_row)
        self._count = (row + 1) * self._a_row
        return self._layout(x=0, y=6 * row, w=24, h=6)


def _place(key: str) -> str:
    """A key of the config in W&B's columns, which have ``value`` after its first part."""
    first, *rest = key.split(".")
    return ".".join([first, "value", *rest])


def _plain(model: Any) -> Any:
    return json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
