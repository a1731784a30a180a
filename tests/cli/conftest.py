"""The command line in this process, and runs and pictures to use it on."""

from tests.commands import _environment, contents, copy_of, finished, partinr, pictures, start, tiny, until

__all__ = ["_environment", "contents", "copy_of", "finished", "partinr", "pictures", "start", "tiny", "until"]
