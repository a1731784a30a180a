"""The Hydra application: compose, run, print the outcome."""

from __future__ import annotations

import difflib
import io
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import chdir, nullcontext, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.notes import BAD_INPUT, print_error
from partinr.cli.commands import commands
from partinr.cli.picture import with_picture
from partinr.experiment import comments, composing, names, plugins
from partinr.experiment.conf import conf_dir
from partinr.experiment.hydra_errors import one_line, readable, search_plugins
from partinr.experiment.typed import as_typed
from partinr.runs.layout import CHECKPOINT, MANIFEST
from partinr.runs.words import run_at
from partinr.sweep.folders import register_names
from partinr.sweep.jobwise import left_to_jobs
from partinr.sweep.launchers import register
from partinr.sweep.queue import Sweep

if TYPE_CHECKING:
    from partinr.experiment import config, execute
else:
    config = Later("partinr.experiment.config")
    execute = Later("partinr.experiment.execute")

_COMPOSING = (HydraException, OmegaConfBaseException)


def hydra_app(arguments: list[str]) -> int:
    """Pass the arguments to Hydra, execute the composed runs, and return the exit code.

    Raises:
        PartinrError: Hydra cannot compose a configuration.
    """
    # Makes Hydra raise errors instead of printing a report and ending the process.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    names.register_resolvers()
    search_plugins()
    trace = "debug=trace" in arguments

    def say(error: Exception, job: Sequence[str] = ()) -> str:
        if trace:
            raise error
        return worded(error, job or overrides) if isinstance(error, _COMPOSING) else str(error)

    sweep = Sweep(say)
    register(sweep)
    flags, overrides = _sorted_out(arguments)
    worded = _words(flags)
    _check_size(overrides)
    register_names(overrides)

    def task(cfg: DictConfig) -> float | None:
        sweep.begun = True
        where = OmegaConf.to_container(HydraConfig.get().runtime, resolve=False)  # a folder may be called ${x}
        assert isinstance(where, dict)
        folder = Path(where["output_dir"])
        _remove_if_empty(folder)  # a start that is killed leaves nothing; the run makes it again
        try:
            asked = list(HydraConfig.get().overrides.task)
            # With hydra.job.chdir=true Hydra is elsewhere; paths are relative to where they were typed, as in a sweep.
            with chdir(where["cwd"]):
                settings = config.asked_settings(cfg, asked)  # before what a run imports: a wrong value ends at once
                outcome = execute.execute(settings, folder, asked)
        except (PartinrError, OmegaConfBaseException) as error:
            print_error(say(error))
            sweep.refused += 1
            return None
        finally:
            _remove_if_empty(folder)
        sweep.outcomes.append(outcome)
        return outcome.psnr

    application = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(task)
    before, code = sys.argv, 0
    try:
        _call(application, flags, overrides)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if sweep.begun:
            sweep.show()
        # Before the first run, any error of Hydra concerns the overrides.
        if isinstance(error, PartinrError) or trace or (sweep.begun and not isinstance(error, _COMPOSING)):
            raise
        raise PartinrError(worded(error, overrides, commands.commands)) from error
    finally:
        sys.argv = before
    if sweep.begun:
        sweep.show()
    if sweep.refused and code <= 128:
        return BAD_INPUT
    return code or max((outcome.exit_code for outcome in sweep.outcomes), default=0)


def _words(flags: Sequence[str]) -> Callable[..., str]:
    """:func:`one_line` for a command line."""
    given = get_args_parser().parse_args(flags)
    return partial(one_line, own=given.config_dir, place="hydra.sweep.dir" if given.multirun else "hydra.run.dir")


def _call(application: Callable[[], object], flags: Sequence[str], overrides: Sequence[str]) -> None:
    """Let Hydra read the command line. The jobs of a sweep check what depends on their choices."""
    sys.argv = ["partinr", *flags, *overrides]
    given = get_args_parser().parse_args(flags)
    shown = io.StringIO()
    try:
        with redirect_stdout(shown) if given.cfg else nullcontext():
            application()
    except ConfigCompositionException as error:
        left = left_to_jobs(error, overrides, given.config_dir) if given.multirun else None
        if left is None:
            raise
        _call(application, flags, left)
    if given.cfg:
        package = "" if given.package in (None, "_global_") else given.package
        print(comments.commented(shown.getvalue(), comments.by_key(composing.last_files()), package), end="")


def _check_size(overrides: Sequence[str]) -> None:
    """Refuse a size that an experiment does not have; Hydra would ignore it.

    Raises:
        PartinrError: an experiment lacks its size.
    """
    asked = {key: value.split(",") for key, _, value in (override.partition("=") for override in overrides)}
    choices = plugins.groups()
    for size in asked.get("size", []):
        # Every experiment has the full size; Hydra refuses a size that does not exist at all.
        if size == "full" or size not in choices["size"]:
            continue
        sized = [
            group.partition("/")[2] for group, names in choices.items() if size in names and "experiment/" in group
        ]
        for experiment in asked.get("experiment", ["null"]):
            if experiment not in sized:
                raise PartinrError(f"experiment={experiment} has no size={size}; choose from {', '.join(sized)}")


def _sorted_out(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Flags and overrides: Hydra refuses a flag between overrides, as in ``seed=0 -m partition=none,grid``.

    Raises:
        PartinrError: the flag is unknown.
    """
    parser = get_args_parser()
    parser.allow_abbrev = False

    def refuse(message: str) -> NoReturn:
        raise PartinrError(f"{message}; {_flag_meant(arguments, parser) or 'see partinr --help'}")

    parser.error = refuse  # type: ignore[method-assign]
    asked = parser.parse_intermixed_args(arguments)
    flags = list(arguments)
    for override in asked.overrides:
        flags.remove(override)
    searched = None if asked.config_dir is None else Path(asked.config_dir)
    return flags, as_typed([readable(word) for word in with_picture(list(map(_at_run, asked.overrides)))], searched)


def _at_run(word: str) -> str:
    """``init=last`` with the path of the run, ``ckpt_path=last`` with that of its checkpoint; others stay as they are.

    Raises:
        PartinrError: no run fits the word, or several do.
    """
    plain = re.fullmatch(r"(init|ckpt_path)=([\w./:+-]+)(?<!\.ckpt)", word)
    if plain is None or plain[2] == "null":
        return word
    run = run_at(Path(plain[2]))
    continues = plain[1] == "ckpt_path" and (run / MANIFEST).is_file()
    return f"{plain[1]}={run / CHECKPOINT if continues else run}"


def _flag_meant(arguments: Sequence[str], parser: ArgumentParser) -> str | None:
    """What an unknown flag may stand for, as a question: a flag, or an override, which has no dashes."""
    known = {flag.lstrip("-"): flag for flag in parser._option_string_actions}
    for word in (word.lstrip("-") for word in arguments if word.startswith("--")):
        name, equals, _ = word.partition("=")
        if name not in known and equals:
            return f"did you mean {word}?"
        if name not in known and (near := difflib.get_close_matches(name, known, n=1)):
            return f"did you mean {known[near[0]]}?"
    return None


def _remove_if_empty(folder: Path) -> None:
    """Remove the folder of a run that has no file yet. Hydra makes it before any check."""
    if folder != Path.cwd():
        with suppress(OSError):
            folder.rmdir()
