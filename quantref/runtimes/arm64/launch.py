"""Where the Arm system lies, and the command that starts its Python under the emulator."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from qmath.errors import RuntimeUnavailableError
from quantref.runtimes.table import ARM64_RUNTIMES, Resolver, Runtime

#: Names the folder of the Arm system.
VARIABLE = "QUANTREF_ARM64"
#: QEMU's user-mode emulator of 64-bit Arm.
EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
#: Emulators misread the newest instructions of ``-cpu max``; these are cores that exist.
DEFAULT_CPU = "cortex-a72"
#: What 64-bit Arm calls itself, on Linux and on macOS.
ARM = frozenset({"aarch64", "arm64"})
#: Resolvers that give the same integers on every processor.
SAME = frozenset({Resolver.REFERENCE})
_SETUP = "python -m quantref.runtimes.arm64 setup"


def home() -> Path:
    """Return the folder of the Arm system, whether it is there or not."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "quantref" / "arm64"


def foreign_launcher(runtime: Runtime) -> tuple[str, ...]:
    """Return the command that starts the Python of a runtime for another processor; empty if it is for this one.

    Raises
    ------
    RuntimeUnavailableError
        There is no emulator, or no Arm system; or the runtime is that of another processor than this Arm machine's.

    """
    on_arm = platform.machine().lower() in ARM
    if on_arm and not runtime.machine and f"{runtime.name}-arm64" in ARM64_RUNTIMES and runtime.resolver not in SAME:
        reason = f"this is an Arm machine, whose kernels round otherwise; expected {runtime.name}-arm64"
        raise RuntimeUnavailableError(f"{runtime.name} is LiteRT on x86-64: {reason}")
    if on_arm or not runtime.machine:
        return ()
    folder = home()
    python = next(iter(sorted((folder / "usr" / "bin").glob("python3.*[0-9]"))), None)
    if python is None or not (folder / "site" / "ai_edge_litert").is_dir():
        reason = f"found no Python with LiteRT in {folder}; `{_SETUP}` lays it down, {VARIABLE} names another folder"
        raise RuntimeUnavailableError(f"{runtime.name} needs an Arm system: {reason}")
    emulator = find_emulator(folder)
    if emulator is None:
        reason = f"found neither {' nor '.join(EMULATORS)}; `apt-get install qemu-user-static` or `{_SETUP}` gives one"
        raise RuntimeUnavailableError(f"{runtime.name} needs QEMU: {reason}")
    cpu = (folder / "cpu").read_text().strip() if (folder / "cpu").is_file() else DEFAULT_CPU
    settings = {"PYTHONPATH": folder / "site", "PYTHONHOME": folder / "usr", "OPENBLAS_NUM_THREADS": 1}
    environment = [part for name, value in settings.items() for part in ("-E", f"{name}={value}")]
    return (str(emulator), "-cpu", cpu, "-L", str(folder), *environment, str(python))


def find_emulator(folder: Path) -> Path | None:
    """Return QEMU's emulator: the system's, or the one in the folder."""
    for name in EMULATORS:
        found = shutil.which(name)
        if found:
            return Path(found)
    inside = folder / "emulator" / "usr" / "bin" / EMULATORS[0]
    return inside if inside.is_file() else None
