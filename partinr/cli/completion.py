"""Completes words in the shell: subcommands, groups and their choices, keys, flags and run directories.

click asks when the variable ``_PARTINR_COMPLETE`` is set (:data:`partinr.cli.main.COMPLETE`). It composes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from partinr.experiment import plugins
from partinr.experiment.comments import read_comments
from partinr.runs.layout import MANIFEST

FLAGS = ("--multirun", "--cfg", "--config-dir", "--package", "--resolve", "--hydra-help")
"""Hydra's flags that a user of partinr needs."""


def overrides(incomplete: str) -> list[CompletionItem[str]]:
    """What a word of a run's command line may become. A file may stand anywhere, which the shell completes."""
    key, equals, value = incomplete.partition("=")
    sign = key[: len(key) - len(key.lstrip("+~"))]
    groups = plugins.groups()
    if equals:
        before, comma, last = value.rpartition(",")
        choices = [name for name in groups.get(key.lstrip("+~"), ()) if name.startswith(last)]
        return [CompletionItem(f"{key}={before}{comma}{name}") for name in choices]
    found: dict[str, str] = {}
    for name, said in (*((f"{group}=", "") for group in groups), *_keys(list(groups)), *((flag, "") for flag in FLAGS)):
        if f"{sign}{name}".startswith(incomplete):
            # One level at a time.
            step, dot, _ = name[len(incomplete) - len(sign) :].partition(".")
            found[f"{incomplete}{step}{dot}"] = "" if dot else said
    return [*(CompletionItem(name, help=said) for name, said in found.items()), CompletionItem(incomplete, type="file")]


def _keys(groups: list[str]) -> Iterator[tuple[str, str]]:
    """``optimizer.lr=`` and its comment for every key of any choice."""
    for folder in plugins.conf_dirs():
        files = [("", folder / "train.yaml")]
        files += [(f"{group.replace('/', '.')}.", path) for group in groups for path in folder.glob(f"{group}/*.yaml")]
        for prefix, path in files:
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            keys = [] if "@package _global_" in text else read_comments(text).keys
            holders = {key.name.rpartition(".")[0] for key in keys}
            yield from ((f"{prefix}{key.name}=", key.comment) for key in keys if key.name not in holders)


def runs(incomplete: str) -> list[CompletionItem[str]]:
    """``last``, runs and sweeps below ``outputs``, the newest first, and other folders, which the shell finds."""
    made = [*Path("outputs").glob("runs/*"), *Path("outputs").glob("sweeps/*"), *Path("outputs").glob("sweeps/*/*")]
    known = [path for path in made if (path / MANIFEST).is_file() or path.parent.name == "sweeps"]
    words = ["last", *(str(path) for path in sorted(known, key=os.path.getmtime, reverse=True))]
    return [
        *(CompletionItem(word) for word in words if word.startswith(incomplete)),
        CompletionItem(incomplete, type="dir"),
    ]


@add_completion_class
class Bash(BashComplete):
    """bash takes ``=`` and ``:`` for the start of a word, and would put a space behind ``optimizer.``."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' word
    COMPREPLY=()
    for word in $(%(complete_var)s=bash_complete COMP_LINE="${COMP_LINE:0:COMP_POINT}" "$1" 2>/dev/null); do
        [[ $word == *[=.] ]] && compopt -o nospace
        COMPREPLY+=("$word")
    done
}
complete -o default -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the last, and the last."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])

    def complete(self) -> str:
        """What may follow the last ``=`` or ``:``, one a line. bash completes files itself where there is nothing."""
        args, incomplete = self.get_completion_args()
        known = max(incomplete.rfind("="), incomplete.rfind(":")) + 1
        items: list[CompletionItem[Any]] = self.get_completions(args, incomplete)
        return "\n".join(item.value[known:] for item in items if item.type == "plain")


@add_completion_class
class Zsh(ZshComplete):
    """zsh would put a space behind ``optimizer.`` and ``optimizer.lr=``. It completes paths where there is nothing."""

    source_template = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a response whole open
    local type key about line paths
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
%(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")
    for type key about in $response; do
        case $type in
            dir) paths=-/ ;;
            file) paths=-f ;;
            plain)
                if [[ $about == _ ]]; then line=${key//:/\\\\:}; else line=$key:$about; fi
                if [[ $key == *[=.] ]]; then open+=("$line"); else whole+=("$line"); fi ;;
        esac
    done
    if (( ! $#whole + $#open )); then [[ -n $paths ]] && _path_files $paths; return; fi
    (( $#whole )) && _describe -V unsorted whole -U
    (( $#open )) && _describe -V unsorted open -U -S ''
}
compdef %(complete_func)s %(prog_name)s
"""


@add_completion_class
class Fish(FishComplete):
    """click's own would cut ``partition=none,grid`` and descriptions at their first comma."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')
