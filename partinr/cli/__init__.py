"""The command line: the Hydra application and the subcommands."""

from partinr.cli.main import main

__all__ = ["main"]
