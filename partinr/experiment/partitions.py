"""``partinr partitions``: draws the partitions that rules make of signals in one figure, without fitting."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.base.notes import print_note
from partinr.base.terminal import terminal
from partinr.experiment import plugins
from partinr.experiment.conf import conf_dir
from partinr.experiment.hydra_errors import in_quotes, one_line, readable, search_plugins
from partinr.experiment.make import make
from partinr.experiment.partition_panels import (
    Result,
    Shown,
    Task,
    carried_out,
    in_lines,
    named_as,
    panel,
    print_table,
)
from partinr.partition import PartitionRule
from partinr.pictures.draw import Panel, contact_sheet
from partinr.signals import SignalSet, builtin_names
from partinr.signals.kinds import default_kind
from partinr.signals.sets import Item

_MAX_PANELS = 100
"""Limit of panels that fit into a figure."""

_KINDS: Mapping[str, Literal["png", "pdf"]] = {".png": "png", ".pdf": "pdf"}

_OPTION = re.compile(r"(\+{0,2})([\w-]+)\.([\w.]+=.*)", re.DOTALL)
"""``semantic.merge=boundary``: Hydra's pluses, the rule, and the rest."""

_DATA_FLAGS = {r"data\.size\b": "--size", r"data\.max_side\b": "--max-side"}


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
        words: images (files, or names of built-in ones), other signals (``data=film``), and options of rules
            (``RULE.KEY=VALUE``) or of ``data``.
        output: file for the figure, PNG or PDF.
        regions: numbers of regions, separated by commas; each makes a row of the figure.
        rules: names, separated by commas. None for all rules except ``none``, those for other signals, those whose
            regions are learned or live, and those that lack a required option; a rule of ``config_dir`` that lacks one
            is refused.
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
    sets = [_set(image, size, max_side, options.get("data", [])) for image in images]
    items = [(item.name or data.title, item) for data in sets for item in (*data.train(), *data.val())]
    with named_as(_DATA_FLAGS):
        signals = [_read(*item) for item in items[:_MAX_PANELS]]
    if rules is None:
        tasks = [each for each in tasks if each[0].name in options or _fits(each[0].rule, signals)]
    panels = len(items) * (1 + sum(map(len, tasks)))
    if panels > _MAX_PANELS:
        raise PartinrError(f"{panels} pictures are more than {_MAX_PANELS}; give fewer images, --regions or --rules")

    rows: list[list[Panel | None]] = []
    results: list[Result] = []
    for signal in signals:
        done = [[carried_out(task, signal) for task in column] for column in tasks]
        results += [result for column in done for result in column]
        drawn = [[panel(result, signal) for result in column] for column in done]
        for row in range(max(map(len, drawn))):
            # A rule without a number of regions is drawn once.
            rows.append(
                [None if row else signal.panel, *(column[row] if row < len(column) else None for column in drawn)]
            )
    sound = all(result.partition is not None for result in results)
    if not any(result.partition is not None for result in results):
        return False
    if len(rows) == 1 or (len(signals) == 1 and len(tasks) == 1):
        rows = in_lines([each for row in rows for each in row if each is not None])
    try:
        write_atomically(output, contact_sheet(rows, _KINDS[output.suffix.lower()]))
    except OSError as error:
        raise PartinrError(f"cannot write {output}: {error.strerror}; choose another with -o") from error
    print_table(results, several=len(signals) > 1)
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
        if "=" not in word or word.startswith("data=") or Path(word).exists():
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
        raise PartinrError("there is no image; give a file, the name of a built-in one such as astronaut, or data=film")
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
        with named_as(words):
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
    with named_as(words):
        return [
            Task(name, regions, make({**node, "regions": regions}, "partition", PartitionRule), words)
            for regions in counts
        ]


def _set(image: str, size: int | None, max_side: int | None, options: Sequence[str]) -> SignalSet:
    """The set that a word names: an image's file or name, and how it is cut. Loading checks whether it exists.

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
    if image.startswith("data=") and not path.exists():
        found = [image]
    elif not builtin:
        found = ["data=image", f"data.path={in_quotes(str(path.expanduser()))}"]
    cut = [f"data.{key}={side}" for key, side in (("size", size), ("max_side", max_side)) if side is not None]
    with named_as(_DATA_FLAGS):
        return make(_composed("data", [*found, *cut, *options]), "data", SignalSet)


def _fits(rule: PartitionRule, signals: Sequence[Shown]) -> bool:
    """Whether a rule is for one of the signals, and has all of its regions before a training."""
    stays = rule.live is None and not rule.gated
    return stays and any(rule.refuses(signal.values) is None for signal in signals)


def _read(title: str, item: Item) -> Shown:
    reading = item.read()
    kind = reading.kind or default_kind(reading.values.ndim - 1)
    return Shown(title, item.source, reading.values, kind)


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
