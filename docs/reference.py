"""Writes the pages of the reference that come from the project itself: the comments of conf/, the help of the commands.

``docs/conf.py`` calls it at each build. Git ignores the pages.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from partinr.cli.commands import commands
from partinr.experiment.comments import Comments, Key, read_comments

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PAGES = ROOT / "docs" / "reference" / "generated"

GROUPS = {
    "data": "A signal, or a set of signals.",
    "sampler": "Which samples the steps of a fit see.",
    "observe": "What the loss sees of the signal; PSNR and SSIM are against the signal itself.",
    "partition": "Rules that cut a signal into regions.",
    "backbone": "The network of each region.",
    "start": "The weights that networks begin with.",
    "regime": "What is learned, and how.",
    "optimizer": "The optimiser and its learning rate.",
    "schedule": "The learning rate over time.",
    "trainer": "Devices, processes and precision.",
    "callbacks": "What is kept while a run is in progress.",
    "logger": "Where metrics go besides `curve.csv`.",
    "sweep": "What `partinr -m` does with existing runs, and searches.",
    "hydra/launcher": "Where the runs of a sweep are executed. `basic`, the default, is Hydra's own.",
    "experiment": "Named studies.",
    "size": "The size of a study.",
    "case": "One row of a study's table.",
    "debug": "Tracebacks.",
}
"""The groups of conf/ in the order of the page, each with one line on what it selects."""


def _comments(path: Path) -> Comments:
    return read_comments(path.read_text(encoding="utf-8"))


def commands_in(head: list[str]) -> list[str]:
    """The commands among the lines at the head of a file: those that are indented."""
    return [line.strip() for line in head if line.startswith("  ")]


def _prose(head: list[str]) -> list[str]:
    out: list[str] = []
    inside = False
    for line in head:
        command = line.startswith("  ")
        if command != inside:
            out += ["", "```sh"] if command else ["```", ""]
            inside = command
        out.append(line.strip() if command else _text(line))
    return [*out, "```"] if inside else out


def _text(line: str) -> str:
    return re.sub(r"([|<*])", r"\\\1", line)


def _table(keys: list[Key], prefix: str = "") -> list[str]:
    """The keys as a Markdown table, without those that only hold others."""
    holders = {key.name.rpartition(".")[0] for key in keys}
    rows = [
        f"| `{prefix}{key.name}` | {f'`{key.default}`' if key.default else ''} | {_text(key.comment)} |"
        for key in keys
        if key.comment or key.name not in holders
    ]
    return ["| key | default | |", "|---|---|---|", *rows, ""] if rows else []


def _group(group: str) -> list[str]:
    """The page of one group: each choice, what it is for, and its keys."""
    lines = [f"# {group}", "", GROUPS[group], ""]
    folder = CONF / group
    for path in sorted(folder.rglob("*.yaml")):
        name = path.relative_to(folder).with_suffix("")
        title = f"{name.parent} size={name.name}" if name.parent != Path() else str(name)
        comments = _comments(path)
        # A file of the package _global_ sets keys of many groups, which it names in full.
        everywhere = "@package _global_" in path.read_text(encoding="utf-8")
        lines += [f"## {group}={title}", "", *_prose(comments.head), ""]
        lines += _table(comments.keys, "" if everywhere else f"{group.replace('/', '.')}.")
    return lines


def _configuration() -> list[str]:
    """The page of the root: the groups, and the keys that belong to none."""
    keys = _comments(CONF / "train.yaml").keys
    return [
        "# Configuration",
        "",
        "These pages come from the comments in `conf/`. `GROUP=NAME` selects a choice of a group (`partition=grid`),",
        "`KEY=VALUE` sets a key (`partition.regions=16`), and `partinr --cfg job` prints the composed configuration.",
        "",
        "| group | |",
        "|---|---|",
        *(f"| [`{group}`]({_page(group)}.md) | {said} |" for group, said in GROUPS.items()),
        "",
        "```{toctree}",
        ":hidden:",
        "",
        *(_page(group) for group in GROUPS),
        "```",
        "",
        "## Root keys",
        "",
        *_table([key for key in keys if key.name.split(".")[0] != "hydra"]),
        "## Keys of Hydra",
        "",
        *_table([key for key in keys if key.name.startswith("hydra.")]),
    ]


def _page(group: str) -> str:
    return group.replace("/", "-")


def _commands() -> list[str]:
    """The help of every subcommand."""
    lines = [
        "# Commands",
        "",
        "`partinr` itself runs what the [configuration](configuration.md) describes, and `partinr -m` runs a sweep.",
        "The subcommands below work on run directories, on images, or on the installation.",
        "",
    ]
    for name, command in sorted(commands.commands.items()):
        with click.Context(command, info_name=f"partinr {name}", max_content_width=100) as context:
            lines += [f"## partinr {name}", "", "```text", command.get_help(context), "```", ""]
    return lines


def write_pages() -> None:
    """Write all pages into ``docs/reference/generated``. A page that stays the same is not touched."""
    pages = {"configuration": _configuration(), "commands": _commands()}
    pages |= {_page(group): _group(group) for group in GROUPS}
    PAGES.mkdir(parents=True, exist_ok=True)
    for path in PAGES.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    for name, lines in pages.items():
        path, text = PAGES / f"{name}.md", "\n".join(lines).rstrip() + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
