"""LiteRT's Arm wheel in an emulator: how it is found, what is said where it is not, and that it runs."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

import quantref as qr
from qmath.errors import InputError, RuntimeUnavailableError
from quantref.runtimes import ARM64_RUNTIMES, RUNTIMES, find_runtime
from quantref.runtimes.arm64 import VARIABLE, foreign_launcher, home
from quantref.runtimes.arm64 import launch as launching
from quantref.runtimes.arm64.__main__ import main
from quantref.runtimes.arm64.cpu import CPUS, describe_cpu
from quantref.runtimes.arm64.setup import setup
from tests.quantref.small_models import two_layers

XNNPACK = ARM64_RUNTIMES["xnnpack-arm64"]


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that looks like an Arm system to a machine that is none."""
    for place in ("usr/bin/python3.11", "site/ai_edge_litert/x", "emulator/usr/bin/qemu-aarch64-static"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    describe_cpu(tmp_path, "neoverse-n1")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(launching.shutil, "which", lambda _: None)
    return tmp_path


def test_the_command_runs_its_python_under_the_emulator(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = foreign_launcher(XNNPACK)
    assert command[0] == str(system / "emulator/usr/bin/qemu-aarch64-static")
    assert command[1:5] == ("-cpu", "neoverse-n1", "-L", str(system))
    assert command[-1] == str(system / "usr/bin/python3.11")
    assert f"PYTHONPATH={system / 'site'}" in command
    assert main(["command"]) == 0
    assert capsys.readouterr().out.split() == list(command)


def test_no_system(system: Path) -> None:
    (system / "usr/bin/python3.11").unlink()
    message = rf"found no Python with LiteRT in {system}; `python -m quantref.runtimes.arm64 setup` lays it down"
    with pytest.raises(RuntimeUnavailableError, match=message):
        qr.verify(two_layers(), "xnnpack-arm64")


def test_no_emulator(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (system / "emulator/usr/bin/qemu-aarch64-static").unlink()
    with pytest.raises(RuntimeUnavailableError, match="xnnpack-arm64 needs QEMU: found neither qemu-aarch64-static"):
        foreign_launcher(XNNPACK)
    assert main(["command"]) == 2
    assert "needs QEMU" in capsys.readouterr().err


def test_an_arm_machine_needs_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert foreign_launcher(XNNPACK) == ()
    assert foreign_launcher(RUNTIMES["litert-reference"]) == ()
    with pytest.raises(RuntimeUnavailableError, match="xnnpack is LiteRT on x86-64: this is an Arm machine"):
        foreign_launcher(RUNTIMES["xnnpack"])


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "quantref" / "arm64"


def test_what_the_processor_looks_like(tmp_path: Path) -> None:
    for name, core in CPUS.items():
        describe_cpu(tmp_path, name)
        assert core.part in (tmp_path / "proc/cpuinfo").read_text()
        assert (tmp_path / "cpu").read_text() == f"{name}\n"


def test_setting_up_needs_a_core_and_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected a core among cortex-a72, neoverse-n1, found 'max'"):
        setup(tmp_path, "max")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeUnavailableError, match="expected apt-get to fetch an Arm Python with, found none"):
        setup(tmp_path)


def test_each_follows_the_profile_of_its_machine() -> None:
    assert {name: runtime.profile for name, runtime in ARM64_RUNTIMES.items()} == {
        "litert-reference-arm64": "litert-reference",
        "litert-optimized-arm64": "litert-optimized-arm64",
        "xnnpack-arm64": "xnnpack-arm64",
    }
    assert not set(ARM64_RUNTIMES) & set(RUNTIMES)
    with pytest.raises(InputError, match="xnnpack-arm64, found 'nobody'"):
        find_runtime("nobody")


@pytest.mark.litert
def test_a_model_runs_there() -> None:
    """Takes some ten seconds; skipped where no Arm system is set up."""
    try:
        foreign_launcher(XNNPACK)
    except RuntimeUnavailableError as error:
        pytest.skip(error.message)
    result = qr.verify(two_layers(), "xnnpack-arm64", samples=4)
    assert result.runtime_version.endswith("aarch64")
    assert result.equal, result.summary()
