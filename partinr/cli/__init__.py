"""The command line: the Hydra application, and the subcommands beside it."""

from partinr.cli.main import main

__all__ = ["main"]
