"""Where and with what a run was made: a figure without it says little."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

import quantref

_DISTRIBUTIONS = ("numpy", "ai-edge-litert", "flatbuffers", "tflite")
#: Everything but what a run writes itself.
_CODE = ("--", ".", ":!benchmarks/*.json", ":!benchmarks/README.md", ":!benchmarks/*.svg")
_ROOT = Path(__file__).resolve().parent.parent


def describe() -> dict[str, Any]:
    """Return the machine, versions and the commit as plain values."""
    np.dot(np.ones((2, 2)), np.ones((2, 2)))  # BLAS shows up when it has been used
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": _cores(),
        "system": platform.system(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "quantref": quantref.__version__,
        "commit": _commit(),
        "blas": _blas(),
        **{name: _version(name) for name in _DISTRIBUTIONS},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    family = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    return fields.get("model name", platform.processor() or "unknown") + family


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _blas() -> str:
    """Return name, version and kernels of the BLAS that NumPy uses."""
    found = [entry for entry in threadpool_info() if entry["user_api"] == "blas"]
    return "; ".join(f"{entry['internal_api']} {entry['version']} {entry.get('architecture', '')}" for entry in found)


def _commit() -> str | None:
    """Return the commit of the checkout, with a plus if files were changed since."""
    try:
        found = [
            subprocess.run(["git", *command], cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607
            for command in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no", *_CODE))
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return found[0] + ("+" if found[1] else "")
