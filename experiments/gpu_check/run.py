"""Tests and times partinr on a GPU, and writes one Markdown file.

    make gpu-check PYTHON=python3 IMAGES=kodak OUT=gpu-check.md
    make gpu-check SIZE=tiny          # on any machine, to see that it works

It needs a Python with torch and NumPy, no network and no `make setup`. Each part is a process with a time limit of its
own. The file is written anew after each part, so whatever happens to the rest, what was found stays.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLACES = (ROOT, HERE.parent / "benchmarks", HERE)
"""Where the parts find partinr, the steps of the benchmarks, and each other."""

OF_THE_MACHINE = ("torch", "torchvision", "numpy", "triton")
"""What a machine with a GPU has; carried wheels of these are left alone."""

GRACE = 5.0
"""Seconds before its limit at which a part is asked to end by itself."""


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        name: name for `part.py`.
        title: heading in the file.
        seconds: limit for each size; the last part has all that is left.
    """

    name: str
    title: str
    seconds: Mapping[str, float]


MACHINE = 60.0
"""Seconds for the description of the machine, which imports everything for the first time."""

# By worth: what is wrong first, what takes longest last.
PARTS = (
    Part("correct", "Correctness", {"full": 110, "tiny": 60}),
    Part("step_times", "Steps", {"full": 70, "tiny": 30}),
    Part("fast", "experiment=fast on whole images", {"full": 170, "tiny": 30}),
    Part("meta", "Learning to learn", {"full": 40, "tiny": 30}),
    Part("siren", "experiment=paper_siren at 1000×700", {"full": 300, "tiny": 30}),
)
TOTAL = {"full": 470.0, "tiny": 115.0}
"""Seconds of the whole check."""


@dataclass
class Section:
    """What a part has written.

    Attributes:
        title: heading.
        text: Markdown.
        seconds: duration.
        failure: why the part did not end well, or None.
    """

    title: str
    text: str
    seconds: float
    failure: str | None


def requirements() -> dict[str, str]:
    """Each package that the check needs beside torch and NumPy, with the module that shows it is there."""
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("#") for line in lines if not line.startswith("#"))
    return {name.strip(): module.strip() for name, module in pairs}


def missing() -> list[str]:
    """The packages that cannot be imported."""
    needed = {"torch": "torch", "numpy": "numpy", **requirements()}
    return [name for name, module in needed.items() if find_spec(module.partition(".")[0]) is None]


def unpack(wheels: Path, target: Path) -> None:
    """Unpack the wheels that suit this Python and hold none of the machine's own packages."""
    for wheel in sorted(wheels.glob("*.whl")):
        name, *_, pythons, abi, _ = wheel.stem.split("-")
        major, minor = sys.version_info[:2]
        suits = [each for each in pythons.split(".") if each in ("py3", f"cp{major}{minor}") or abi == "abi3"]
        if suits and name.lower() not in OF_THE_MACHINE:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(target)


def how_to_carry(packages: Sequence[str]) -> str:
    """What to do about missing packages."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"gpu-check: {sys.executable} lacks {', '.join(packages)}.\n"
        "On a machine of the same kind that has a network, run\n"
        f"  {python} -m pip wheel --no-deps -w wheels -c constraints.txt -r experiments/gpu_check/requirements.txt\n"
        "and bring the folder here: make gpu-check WHEELS=wheels"
        + (
            "\nThe machine's own torch and NumPy are used; name a Python that has both: PYTHON=…"
            if packages[0] in OF_THE_MACHINE
            else ""
        )
    )


def environment(site: Path) -> dict[str, str]:
    """The variables of the parts: places to import from, and no network."""
    places = [*map(str, PLACES), str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg", "PYTHONPATH": os.pathsep.join(places)}
    return {**os.environ, **own}


def carry_out(title: str, command: Sequence[str], seconds: float, variables: Mapping[str, str], cwd: Path) -> Section:
    """Run a part for at most ``seconds``; what it has printed by then is kept."""
    start, failure = time.monotonic(), None
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        process = subprocess.Popen(
            command,
            env=dict(variables),
            cwd=cwd,
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
            if code:
                failure = f"exit code {code}"
        except subprocess.TimeoutExpired:
            failure = f"stopped at its limit of {seconds:.0f} s"
        finally:
            # Its own children, too: ranks, and whatever holds the card.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        text, said = out.read(), err.read().strip()
    if failure and said:
        failure += ": " + " ".join(said.splitlines()[-1].split())[:300]
        text += f"\n\n```\n{chr(10).join(said.splitlines()[-12:])}\n```"
    return Section(title, text.strip(), time.monotonic() - start, failure)


def document(facts: Mapping[str, str], sections: Sequence[Section], seconds: float) -> str:
    """The Markdown file."""
    failed = [section for section in sections if section.failure]
    lines = [f"# GPU check: {facts.get('device', 'unknown device')}", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""]
    lines += [f"{len(sections) - len(failed)} of {len(sections)} parts ended well, in {seconds:.0f} s."]
    lines += [f"- **{section.title}** failed: {section.failure}" for section in failed]
    for section in sections:
        lines += ["", f"## {section.title}", "", f"{section.seconds:.0f} s."]
        lines += [f"**Failed: {section.failure}**"] if section.failure else []
        lines += ["", section.text]
    return "\n".join(lines).rstrip() + "\n"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "full"), default="full", help="tiny: works without a GPU")
    parser.add_argument("--images", type=Path, help="folder of images, such as Kodak's 24; built-in ones by default")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this Python lacks")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.md"), help="the Markdown file")
    chosen = parser.parse_args(arguments)
    for folder in (chosen.images, chosen.wheels):
        if folder is not None and not folder.is_dir():
            parser.error(f"{folder} is no folder")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts; returns 0 if all ended well, 1 if not, 2 if the check cannot begin."""
    begin, chosen = time.monotonic(), parse(arguments)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as made:
        scratch = Path(made)
        site = scratch / "site"
        site.mkdir()
        if chosen.wheels is not None:
            unpack(chosen.wheels, site)
            sys.path.append(str(site))
        if lacks := missing():
            print(how_to_carry(lacks), file=sys.stderr)
            return 2
        variables = environment(site)
        own = [sys.executable, str(HERE / "part.py")]
        about = carry_out("machine", [*own, "machine", "--size", chosen.size], MACHINE, variables, scratch)
        if about.failure:
            print(f"gpu-check: {about.failure}", file=sys.stderr)
            return 2
        facts, sections = json.loads(about.text.splitlines()[-1]), []
        for number, part in enumerate(PARTS):
            left = TOTAL[chosen.size] - (time.monotonic() - begin)
            seconds = min(part.seconds[chosen.size], max(left, 2 * GRACE))
            command = [*own, part.name, "--size", chosen.size, "--seconds", str(seconds - GRACE)]
            command += [] if chosen.images is None else ["--images", str(chosen.images.resolve())]
            print(f"gpu-check: {part.title}, {number + 1} of {len(PARTS)}, at most {seconds:.0f} s", flush=True)
            folder = scratch / part.name
            folder.mkdir()
            sections.append(carry_out(part.title, command, seconds, variables, folder))
            if sections[-1].failure:
                print(f"  failed: {sections[-1].failure}", flush=True)
            chosen.out.write_text(document(facts, sections, time.monotonic() - begin), encoding="utf-8")
    print(f"gpu-check: see {chosen.out}")
    return int(any(section.failure for section in sections))


if __name__ == "__main__":
    sys.exit(main())
