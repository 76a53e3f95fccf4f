"""The pages that follow from the code are those that the code gives."""

from __future__ import annotations

import subprocess
import sys

from tests.meta.house import ROOT


def test_generated_pages_are_not_stale() -> None:
    """``python docs/generate.py`` writes them anew."""
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
