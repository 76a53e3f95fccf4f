"""``python -m quantref.runtimes.arm64``: set up an Arm system, or say how its Python is started."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from qmath.errors import QuantrefError
from quantref.runtimes.arm64.cpu import CPUS
from quantref.runtimes.arm64.launch import DEFAULT_CPU, VARIABLE, foreign_launcher, home
from quantref.runtimes.arm64.setup import say, setup
from quantref.runtimes.table import ARM64_RUNTIMES


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up, or say what there is."""
    parser = argparse.ArgumentParser(
        prog="python -m quantref.runtimes.arm64", description="LiteRT's wheel for 64-bit Arm in a folder."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    laying = verbs.add_parser("setup", help="lay down an Arm system with LiteRT")
    laying.add_argument("folder", nargs="?", type=Path, default=home(), help=f"default: ${VARIABLE} or {home()}")
    laying.add_argument("--cpu", choices=list(CPUS), default=DEFAULT_CPU, help="core to emulate (default: %(default)s)")
    verbs.add_parser("command", help="print the command that starts its Python")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.verb == "setup":
            setup(chosen.folder.resolve(), chosen.cpu)
            hint = (
                "" if chosen.folder.resolve() == home().resolve() else f"; export {VARIABLE}={chosen.folder.resolve()}"
            )
            say(f"done{hint}")
        else:
            print(*foreign_launcher(next(iter(ARM64_RUNTIMES.values()))))  # noqa: T201 - this module is a command
    except QuantrefError as error:
        print(f"quantref: {error}", file=sys.stderr)  # noqa: T201 - this module is a command
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
