"""The error a user can cure, and the warning a user should know.

Everything that partinr refuses (a missing file, a width of 0, a checkpoint of another architecture) is a
:class:`PartinrError`. The command line prints its message as one line and ends with exit code 2.
"""


class PartinrError(ValueError):
    """Bad input. The message is one line: what is wrong, and what to do about it."""


class PartinrWarning(UserWarning):
    """Something went on otherwise than asked for. The message is one line; the command line prints it as a note."""
