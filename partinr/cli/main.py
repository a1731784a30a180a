"""The executable ``partinr``: a subcommand, or else the Hydra application."""

from __future__ import annotations

import io
import os
import sys
import traceback

import click

from partinr.base.errors import STORAGE, PartinrError, reason, warnings_as_notes
from partinr.base.later import load, own_process
from partinr.base.notes import BAD_INPUT, print_error
from partinr.base.text import AS_FAR_AS_POSSIBLE

WELCOME = """\
partinr fits an image by parts: one small network per region, all trained as one stack.

Three commands to try:

  partinr photo.png                               fit an image of yours: 10 s of training
  partinr -m experiment=demo partition=none,grid  fit a built-in image by one network and by nine
  partinr report outputs/sweeps/demo              compare these two: curves, pictures, a table

partinr --help lists everything else.
"""

COMPLETE = "_PARTINR_COMPLETE"
"""With this variable a shell asks for the completion of a word (:mod:`partinr.cli.completion`)."""


def main(argv: list[str] | None = None) -> None:
    """Run ``partinr`` and end the process.

    Args:
        argv: arguments; by default those of the process.

    Exit code: 0 done; 1 a run failed; 2 bad input; 129, 130 and 143 stopped by SIGHUP, SIGINT and SIGTERM.
    """
    own_process()
    arguments = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=AS_FAR_AS_POSSIBLE)
    if not arguments and COMPLETE not in os.environ:
        print(WELCOME, end="")
        return
    # Imported late, so that errors of imports are reported and --help does not wait for Hydra.
    try:
        commands = load("partinr.cli.commands:commands")
        with warnings_as_notes():
            # Only the first word can be a subcommand, so no key can clash with one.
            known = bool(arguments) and arguments[0] in commands.commands
            about = [word for word in arguments if word in ("-h", "--help", "--version")]
            if known or about or not arguments:
                commands.main(
                    arguments if known else about[:1], prog_name="partinr", standalone_mode=False, complete_var=COMPLETE
                )
                return
            code = load("partinr.cli.app:hydra_app")(arguments)
    except Exception as error:
        code = report_error(error, arguments)
    except KeyboardInterrupt:
        print("partinr: stopped", file=sys.stderr)
        code = 130
    sys.exit(code)


def report_error(error: Exception, arguments: list[str]) -> int:
    """Print an error, as one line if the user can cure it and wants no traceback; return the exit code."""
    if "debug=trace" in arguments:
        traceback.print_exception(error)
        return BAD_INPUT if isinstance(error, PartinrError) else 1
    if isinstance(error, PartinrError):
        print_error(str(error))
        return BAD_INPUT
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        print_error(f"{error.format_message().rstrip('.')}; see partinr {' '.join(arguments[:1])} --help")
        return BAD_INPUT
    if isinstance(error, click.Abort):
        return 130
    if isinstance(error, OSError) and error.errno in STORAGE:
        print_error(reason(error))
        return 1
    traceback.print_exception(error)
    return 1
