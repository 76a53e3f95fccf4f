"""What importing quantref costs, what it leaves alone, and what it says when another's package stands in its way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.meta.house import ROOT

#: Seconds of the processor, the fastest of three: wall time on an idle machine.
QUICK = 0.5
#: Modules that only the command line or a comparison with a runtime needs.
LATER = ("click", "rich", "ai_edge_litert")


def python(code: str, *, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds packages in ``path`` first."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r})\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT.parent,
    )


def test_importing_is_quick() -> None:
    timed = "import time\nstart = time.process_time()\nimport quantref\nprint(time.process_time() - start)"
    seconds = min(float(python(timed).stdout) for _ in range(3))
    assert seconds < QUICK


def test_importing_leaves_the_command_line_and_the_runtime_alone() -> None:
    answer = python(f"import quantref\nprint([name for name in {LATER} if name in sys.modules])")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    answer = python("import quantref\nprint([getattr(quantref, name) and name for name in quantref.__all__])")
    assert answer.returncode == 0, answer.stderr
    assert "Interpreter" in answer.stdout


def test_a_package_of_the_same_name_is_refused_in_one_clear_sentence(tmp_path: Path) -> None:
    """Another distribution's ``kernels``, earlier on the path, is not used silently."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    for name in ("quantref", "qmath", "fbs"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    answer = python("import quantref", path=tmp_path)
    assert answer.returncode == 1
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: quantref needs its own package 'kernels'")
    assert str(tmp_path / "kernels") in last
    assert "virtual environment" in last


def test_a_package_of_the_same_name_that_cannot_even_be_imported_is_named(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("raise RuntimeError('needs a graphics card')")
    for name in ("quantref", "qmath", "fbs"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    answer = python("import quantref", path=tmp_path)
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "ImportError: quantref needs its own package 'kernels', which cannot be imported: RuntimeError"
    )
    assert "virtual environment" in last


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    for name in ("quantref", "qmath", "kernels"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    hide = f"sys.path[:] = [p for p in sys.path if p not in ('', {str(ROOT)!r})]; sys.modules['fbs'] = None"
    answer = python(f"{hide}\nimport quantref", path=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.strip().splitlines()[-1].startswith("ImportError: quantref needs its own package 'fbs'")
