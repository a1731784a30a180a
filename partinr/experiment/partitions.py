"""``partinr partitions``: draws the partitions that rules make of an image in one figure, without fitting."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from rich.table import Table
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.base.notes import print_error, print_note
from partinr.base.terminal import terminal
from partinr.experiment import plugins
from partinr.experiment.conf import conf_dir
from partinr.experiment.hydra_errors import in_quotes, one_line, readable, search_plugins
from partinr.experiment.make import make
from partinr.partition import Partition, PartitionRule
from partinr.partition import make as make_partition
from partinr.pictures.draw import Panel, contact_sheet, partition_overlay, thumbnail
from partinr.signals import ImageData, builtin_names

_MAX_PANELS = 100
"""Limit of panels that fit into a figure."""

_KINDS: Mapping[str, Literal["png", "pdf"]] = {".png": "png", ".pdf": "pdf"}

_OPTION = re.compile(r"(\+{0,2})([\w-]+)\.([\w.]+=.*)", re.DOTALL)
"""``semantic.merge=boundary``: Hydra's pluses, the rule, and the rest."""

_DATA_FLAGS = {r"data\.size\b": "--size", r"data\.max_side\b": "--max-side"}


@dataclass(frozen=True)
class Task:
    """A rule to apply.

    Attributes:
        name: name of its YAML.
        regions: number of regions asked for; None if the rule's options determine it.
        rule: the rule with its options.
        words: option names in the rule's messages, and their names in this command.
    """

    name: str
    regions: int | None
    rule: PartitionRule
    words: Mapping[str, str]

    @property
    def title(self) -> str:
        """``grid #9``."""
        return self.name if self.regions is None else f"{self.name} #{self.regions}"


@dataclass(frozen=True)
class Result:
    """The result of a task.

    Attributes:
        image: name of the image.
        task: the task.
        partition: the partition; None if the rule fails on this image.
    """

    image: str
    task: Task
    partition: Partition | None


def show_partitions(
    words: Sequence[str],
    output: Path,
    *,
    regions: str = "9",
    rules: str | None = None,
    size: int | None = None,
    max_side: int | None = None,
    seed: int = 0,
    config_dir: Path | None = None,
) -> bool:
    """Draw partitions of images into one figure, and print a table of them.

    A rule that fails on an image prints one line to standard error; the others continue.

    Args:
        words: images (files, or names of built-in ones), and options of rules (``RULE.KEY=VALUE``) or of ``data``.
        output: file for the figure, PNG or PDF.
        regions: numbers of regions, separated by commas; each makes a row of the figure.
        rules: names, separated by commas. None for all rules except ``none``, those for other signals, and those that
            lack a required option; a rule of ``config_dir`` that lacks one is refused.
        size: see :class:`~partinr.signals.ImageData`.
        max_side: see there.
        seed: seed of the rules that draw random numbers.
        config_dir: folder of further groups, as for ``--config-dir``.

    Returns:
        whether all rules succeeded.

    Raises:
        PartinrError: an image, rule or option does not exist, or the figure cannot be written.
    """
    if output.suffix.lower() not in _KINDS:
        raise PartinrError(f"cannot write {output}; give a file that ends in .png or .pdf")
    counts = _counts(regions)
    search_plugins()
    available = _available(config_dir)
    images, options = _sorted_out(words, available)
    shared = [f"seed={seed}"]
    if config_dir is not None:
        shared.append(f"hydra.searchpath=[{in_quotes(f'file://{config_dir.resolve()}')}]")
    tasks = []
    for name in _chosen(rules, options, available):
        # Rules that were not requested may lack an option: mask has no file, smp no network.
        optional = rules is None and name not in options and available[name] != "config_dir"
        if made := _tasks(name, counts, options.get(name, []), shared, optional, available[name] == "partinr"):
            tasks.append(made)
    sources = [_source(image, size, max_side, options.get("data", [])) for image in images]
    with _named_as(_DATA_FLAGS):
        signals = [source.load() for source in sources]
    if rules is None:  # without those for sounds
        axes = {signal.ndim - 1 for signal in signals}
        tasks = [made for made in tasks if made[0].name in options or axes & set(made[0].rule.axes)]
    panels = len(images) * (1 + sum(map(len, tasks)))
    if panels > _MAX_PANELS:
        raise PartinrError(f"{panels} pictures are more than {_MAX_PANELS}; give fewer images, --regions or --rules")
    rows: list[list[Panel | None]] = []
    results: list[Result] = []
    for source, signal in zip(sources, signals, strict=True):
        done = [[_carried_out(task, source, signal) for task in column] for column in tasks]
        results += [result for column in done for result in column]
        image = Panel(thumbnail(signal), source.title, "×".join(map(str, signal.shape[:-1])))
        drawn = [[_panel(result, signal) for result in column] for column in done]
        for row in range(max(map(len, drawn))):
            # A rule without a number of regions is drawn once.
            rows.append([None if row else image, *(column[row] if row < len(column) else None for column in drawn)])
    sound = all(result.partition is not None for result in results)
    if not any(result.partition is not None for result in results):
        return False
    if len(rows) == 1 or (len(images) == 1 and len(tasks) == 1):
        rows = _in_lines([panel for row in rows for panel in row if panel is not None])
    try:
        write_atomically(output, contact_sheet(rows, _KINDS[output.suffix.lower()]))
    except OSError as error:
        raise PartinrError(f"cannot write {output}: {error.strerror}; choose another with -o") from error
    _print_table(results, several=len(images) > 1)
    terminal().print(f"\nfigure   {output}", highlight=False, soft_wrap=True)
    return sound


# -- the request ----------------------------------------------------------------------------------------------------


def _counts(regions: str) -> list[int]:
    parts = regions.split(",")
    if not all(re.fullmatch(r"\s*0*[1-9]\d{0,8}\s*", part, re.ASCII) for part in parts):
        raise PartinrError(f"--regions={regions}: should be whole numbers from 1 on, comma by comma, such as 2,9,64")
    return list(dict.fromkeys(map(int, parts)))


def _available(config_dir: Path | None) -> dict[str, Literal["partinr", "plugin", "config_dir"]]:
    """All rules by name, with the origin of each."""
    available: dict[str, Literal["partinr", "plugin", "config_dir"]] = dict.fromkeys(_stems(conf_dir()), "partinr")
    for folder in plugins.conf_dirs():
        for name in _stems(folder):
            available.setdefault(name, "plugin")
    if config_dir is not None:
        for name in _stems(config_dir):
            available.setdefault(name, "config_dir")
    return available


def _stems(folder: Path) -> list[str]:
    return sorted(file.stem for file in (folder / "partition").glob("*.yaml"))


def _sorted_out(words: Sequence[str], available: Collection[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The images, and the options of each rule (and of ``data``) for Hydra: ``partition.merge=boundary``.

    Raises:
        PartinrError: a word is neither, there is no image, a rule is unknown, or an option has several values.
    """
    images: list[str] = []
    options: dict[str, list[str]] = {}
    for word in words:
        if "=" not in word or Path(word).exists():
            images.append(word)
            continue
        found = _OPTION.fullmatch(word)
        if found is None:
            raise PartinrError(f"cannot read {word!r}; give an image, or RULE.KEY=VALUE as in semantic.merge=boundary")
        plus, name, rest = found.groups()
        if name not in (*available, "data"):
            raise PartinrError(f"{word}: there is no rule {name!r}; choose from {', '.join(available)}")
        option = readable(f"{plus}{'data' if name == 'data' else 'partition'}.{rest}")
        if _is_list(option):
            raise PartinrError(f"{word} has several values; give one, or put quotes around it if it is one")
        options.setdefault(name, []).append(option)
    if not images:
        raise PartinrError("there is no image; give a file, or the name of a built-in one such as astronaut")
    return list(dict.fromkeys(images)), options


def _is_list(option: str) -> bool:
    try:
        return OverridesParser.create().parse_override(option).is_sweep_override()
    except HydraException:  # composing it says what is wrong with it
        return False


def _chosen(rules: str | None, options: Collection[str], available: Collection[str]) -> list[str]:
    """The names of the rules to apply.

    Raises:
        PartinrError: a rule is unknown, or options are given for a rule that is not drawn.
    """
    if rules is None:
        # A single region would only show the image.
        return [name for name in available if name != "none"]
    chosen = list(dict.fromkeys(rule.strip() for rule in rules.split(",")))
    for name in chosen:
        if name not in available:
            raise PartinrError(f"there is no rule {name!r}; choose from {', '.join(available)}")
    for name in options:
        if name not in (*chosen, "data"):
            raise PartinrError(f"{name} has an option but is not in --rules={rules}; add it, or leave the option out")
    return chosen


def _tasks(
    name: str, counts: Sequence[int], options: Sequence[str], shared: Sequence[str], optional: bool, own: bool
) -> list[Task]:
    """A rule with each number of regions, checked as in a run; empty if it is ``optional`` and lacks an option.

    A note says why a plug-in's rule is left out. The requirements of partinr's ``own`` rules are documented.

    Raises:
        PartinrError: the rule refuses its options.
    """
    words = {r"partition\.(?=\w)": f"{name}."}
    try:
        with _named_as(words):
            node = _composed("partition", [f"partition={name}", *options, *shared])
            rule = make(node, "partition", PartitionRule)
    except PartinrError as error:
        if not optional:
            raise
        if not own:
            print_note(f"{name} is left out: {error}")
        return []
    told = {option.lstrip("+").partition("=")[0].removeprefix("partition.") for option in options}
    # The boxes along each axis also determine the number of regions.
    if "regions" not in node or told & {"regions", "rows", "cols", "shape"}:
        return [Task(name, None, rule, words)]
    words = {r"partition\.regions\b": "--regions", **words}
    with _named_as(words):
        return [
            Task(name, regions, make({**node, "regions": regions}, "partition", PartitionRule), words)
            for regions in counts
        ]


def _source(image: str, size: int | None, max_side: int | None, options: Sequence[str]) -> ImageData:
    """An image's file or name, and how it is cut. Loading checks whether it exists.

    Raises:
        PartinrError: an option of ``data`` is refused.
    """
    path = Path(image)
    if image in builtin_names():
        builtin = not path.is_file()
    else:
        # A single word is more likely a mistyped name than a missing file.
        builtin = not path.exists() and path.name == image and not path.suffix
    found = ["data=builtin", f"data.name={in_quotes(image)}"]
    if not builtin:
        found = ["data=image", f"data.path={in_quotes(str(path.expanduser()))}"]
    cut = [f"data.{key}={side}" for key, side in (("size", size), ("max_side", max_side)) if side is not None]
    with _named_as(_DATA_FLAGS):
        return make(_composed("data", [*found, *cut, *options]), "data", ImageData)


def _composed(group: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The node of a group in a run with these overrides, as plain containers.

    Raises:
        PartinrError: the node cannot be composed.
    """
    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            composed = hydra.compose("train", list(overrides))
        node = OmegaConf.to_container(composed[group], resolve=True, throw_on_missing=True)
    except Exception as error:  # any error of Hydra concerns the overrides
        raise PartinrError(one_line(error, overrides)) from error
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


@contextmanager
def _named_as(words: Mapping[str, str]) -> Iterator[None]:
    """Rename options in errors as in this command: ``semantic.merge`` for ``partition.merge``.

    Args:
        words: regular expressions for whole dotted names, and their replacements.
    """
    try:
        yield
    except PartinrError as error:
        said = str(error)
        for pattern, here in words.items():
            said = re.sub(rf"(?<![\w.]){pattern}", here, said)
        raise PartinrError(said) from error


# -- the results ----------------------------------------------------------------------------------------------------


@door
def _carried_out(task: Task, source: ImageData, signal: Tensor) -> Result:
    """Apply a rule; print a refusal or notice as one line."""
    partition = None
    try:
        with _named_as(task.words):
            partition = make_partition(task.rule, signal, source.source)
    except PartinrError as error:
        print_error(f"{source.title}, {task.title}: {error}")
    except Exception as error:
        if type(task.rule).__module__.partition(".")[0] == "partinr":
            raise
        # A fault in a plug-in's rule must not stop other rules.
        print_error(f"{source.title}, {task.title}: {type(error).__name__}: {error}")
    if partition is not None and partition.notice is not None:
        print_note(f"{source.title}: {partition.notice}")
    return Result(source.title, task, partition)


def _panel(result: Result, signal: Tensor) -> Panel:
    partition = result.partition
    if partition is None:
        # The faded image fills the panel.
        return Panel(thumbnail(0.85 + 0.15 * signal), result.task.title, "cannot be carried out")
    title = f"{result.task.name} #{_regions(result)}"
    return Panel(
        thumbnail(partition_overlay(signal, partition.labels)), title, f"{_seconds(partition)} · {_bits(partition)}"
    )


def _in_lines(panels: Sequence[Panel]) -> list[list[Panel | None]]:
    """Few panels in one row, or many in rows of equal length."""
    lines = 1 if len(panels) <= 4 else max(2, math.ceil(len(panels) / 6))
    columns = math.ceil(len(panels) / lines)
    return [list(panels[start : start + columns]) for start in range(0, len(panels), columns)]


def _print_table(results: Sequence[Result], several: bool) -> None:
    """Print one row per partition, with the name of the image if there are ``several``."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    if several:
        table.add_column("image")
    table.add_column("rule")
    for heading in ("regions", "smallest", "largest", "seconds", "bits"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        figures = ["–"] * 4
        if (partition := result.partition) is not None:
            sizes = partition.sizes
            figures = [f"{int(sizes.min()):,}", f"{int(sizes.max()):,}"]
            figures += [f"{partition.seconds:.3f}", f"{partition.bits:,}"]
        table.add_row(*[result.image] * several, result.task.name, _regions(result), *figures)
    terminal().print(table)


def _regions(result: Result) -> str:
    """The number of regions, and the number asked for if it differs."""
    found, asked = None if result.partition is None else result.partition.regions, result.task.regions
    said = "–" if found is None else f"{found:,}"
    return said if asked in (None, found) else f"{said} of {asked:,}"


def _seconds(partition: Partition) -> str:
    assert partition.seconds is not None
    return f"{partition.seconds:.2f} s" if partition.seconds >= 0.01 else "<0.01 s"


def _bits(partition: Partition) -> str:
    bits = partition.bits
    if bits < 1000:
        return f"{bits} bit"
    return f"{bits / 1e3:.1f} kbit" if bits < 1e6 else f"{bits / 1e6:.2f} Mbit"
