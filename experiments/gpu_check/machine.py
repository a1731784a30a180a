"""Prints what the check runs on, as one line of JSON."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
import time

import torch
from part import DEVICE, Job

import partinr
from partinr.callbacks.manifest import git_state, hardware


def main(job: Job) -> None:
    """Print the facts."""
    machine, git = hardware(DEVICE), git_state()
    facts = {"device": machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads (no GPU)"}
    if DEVICE.type == "cuda":
        about = torch.cuda.get_device_properties(DEVICE)
        facts["GPUs"] = str(torch.cuda.device_count())
        facts["compute capability"] = f"{about.major}.{about.minor}, {about.multi_processor_count} multiprocessors"
        facts["memory"] = f"{about.total_memory / 2**30:.0f} GiB"
        facts["CUDA"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    triton = "none"
    if importlib.util.find_spec("triton") is not None:
        import triton as module

        triton = module.__version__
    facts["host"] = f"{machine['cpu']}, {platform.system()}"
    facts["versions"] = (
        f"partinr {partinr.__version__}, torch {torch.__version__}, Triton {triton}, Python " + (sys.version.split()[0])
    )
    facts["commit"] = (git["commit"] or "unknown") + (" with changes" if git["dirty"] else "")
    facts["size"] = job.size
    facts["date"] = time.strftime("%Y-%m-%d")
    print(json.dumps(facts))
