"""``partinr clean``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from partinr.base.errors import PartinrError
from partinr.base.notes import print_error
from partinr.base.numbers import write
from partinr.base.terminal import short
from partinr.cli.runs import default_roots
from partinr.runs.leftovers import KINDS, Leftover, leftovers, remove


def clean_up(paths: Sequence[Path], force: bool, only: str | None = None) -> bool:
    """List what can be removed, or remove it.

    Args:
        paths: run directories, or folders of them; none for ``outputs``.
        force: remove what is listed.
        only: kinds of leftovers, separated by commas; None for all.

    Returns:
        whether everything that was to be removed is removed.

    Raises:
        PartinrError: a path does not exist, or a kind is unknown.
    """
    kinds = KINDS if only is None else tuple(kind.strip() for kind in only.split(","))
    for kind in kinds:
        if kind not in KINDS:
            raise PartinrError(f"--only={only}: there is no kind {kind!r}; choose from {', '.join(KINDS)}")
    roots = paths or default_roots()
    for root in roots:
        if not root.exists():
            raise PartinrError(f"{root} does not exist; give a run directory or a folder of runs")
    found = {left.path.resolve(): left for root in roots for left in leftovers(root) if left.kind in kinds}
    wanted = [left for left in found.values() if left.kept is None]
    done = [left for left in wanted if not force or _removed(left)]
    for left in found.values():
        if left in done:
            click.echo(f"{left.kind:<12}{_size(left.size):>9}  {short(left.path)}")
        elif left.kept is not None:
            click.echo(f"{'kept':<12}{_size(left.size):>9}  {short(left.path)}: {left.kept}")
    many = f"{len(done):,} item{'s' * (len(done) != 1)}, {_size(sum(left.size for left in done))}"
    if not wanted:
        click.echo("nothing to remove")
    elif force:
        click.echo(f"\n{many} removed")
    else:
        words = [*(short(path) for path in paths), *([] if only is None else [f"--only={only}"])]
        click.echo(f"\n{many}; nothing was removed. To remove: {' '.join(['partinr clean', *words, '--force'])}")
    return len(done) == len(wanted)


def _removed(left: Leftover) -> bool:
    """Whether a leftover could be removed; the reason is printed if not."""
    try:
        remove(left)
    except PartinrError as error:
        print_error(str(error))
    except OSError as error:
        print_error(f"cannot remove {left.path}: {error.strerror}; its owner can")
    else:
        return True
    return False


def _size(number: int) -> str:
    """Bytes with three digits: 512 B, 3.40 MB."""
    said = write(float(number), "si")
    digits = said.rstrip("kMGT")
    return f"{digits} {said[len(digits) :]}B"
