"""Lay down an Arm system with LiteRT in a folder: packages from the distribution, wheels from the package index."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qmath.errors import InputError, RuntimeUnavailableError
from quantref.runtimes.arm64.cpu import CPUS, describe_cpu
from quantref.runtimes.arm64.launch import DEFAULT_CPU, find_emulator

#: The release that the profiles were measured on.
LITERT = "ai-edge-litert==2.3.0"
#: What LiteRT needs, without its own wheel.
NEEDS = ("numpy>=2.0", "flatbuffers", "tqdm", "typing_extensions", "backports.strenum", "protobuf", "ml_dtypes")


def setup(folder: Path, cpu: str = DEFAULT_CPU) -> None:
    """Lay down an Arm system with LiteRT.

    Parameters
    ----------
    folder
        Where; it is made if it is not there.
    cpu
        Core that it claims to be: LiteRT and XNNPACK choose kernels by its features.

    Raises
    ------
    InputError
        An unknown core.
    RuntimeUnavailableError
        A tool is missing, or a package cannot be had.

    """
    if cpu not in CPUS:
        raise InputError(f"expected a core among {', '.join(CPUS)}, found {cpu!r}")
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise RuntimeUnavailableError(f"expected {tool} to fetch an Arm Python with, found none")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if find_emulator(folder) is None:
            say("fetching the emulator")
            _unpack(_download(work / "host", ["qemu-user-static"], ()), folder / "emulator")
        say("fetching an Arm Python")
        options = ("-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64")
        _unpack(_fetch(work / "arm64", ["python3-minimal", "libpython3-stdlib", "libstdc++6"], options), folder)
        version = _python_version(folder)
        say(f"fetching the wheels of LiteRT for Python {version}")
        _wheels(work / "wheels", version, folder / "site")
    describe_cpu(folder, cpu)


def _python_version(folder: Path) -> str:
    for path in sorted((folder / "usr" / "bin").glob("python3.*")):
        found = re.fullmatch(r"python(3\.\d+)", path.name)
        if found:
            return found[1]
    raise RuntimeUnavailableError(f"expected a Python among the fetched packages, found none in {folder}")


def _apt(work: Path, options: Sequence[str]) -> list[str]:
    """Return ``apt-get`` with lists, cache and state of its own: as if nothing were installed."""
    for name in ("lists/partial", "archives/partial"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    own = (
        f"-oDir::State::Lists={work / 'lists'}",
        f"-oDir::State::status={work / 'status'}",
        f"-oDir::Cache={work}",
        f"-oDir::Cache::archives={work / 'archives'}",
        "-oAPT::Sandbox::User=",
        "-oDebug::NoLocking=1",
        "-oAPT::Install-Recommends=0",
    )
    return ["apt-get", "-qq", *own, *options]


def _fetch(work: Path, packages: Sequence[str], options: Sequence[str]) -> list[Path]:
    """Download packages with everything that they depend on."""
    command = _apt(work, options)
    _run([*command, "update"], "the lists of packages")
    _run([*command, "install", "--download-only", "--yes", *packages], f"the packages {', '.join(packages)}")
    return sorted((work / "archives").glob("*.deb"))


def _download(work: Path, packages: Sequence[str], options: Sequence[str]) -> list[Path]:
    """Download packages alone."""
    command = _apt(work, options)
    _run([*command, "update"], "the lists of packages")
    _run([*command, "download", *packages], f"the packages {', '.join(packages)}", cwd=work / "archives")
    return sorted((work / "archives").glob("*.deb"))


def _unpack(packages: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        _run(["dpkg", "-x", str(package), str(folder)], package.name)


def _wheels(work: Path, version: str, site: Path) -> None:
    tag = version.replace(".", "")
    platforms = [f"manylinux_{glibc}_aarch64" for glibc in ("2_17", "2_27", "2_28", "2_34", "2_35")]
    names = [part for name in (*platforms, "manylinux2014_aarch64", "any") for part in ("--platform", name)]
    tags = [
        "--implementation",
        "cp",
        "--python-version",
        version,
        "--abi",
        f"cp{tag}",
        "--abi",
        "abi3",
        "--abi",
        "none",
    ]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *tags, *names]
    _run([*pip, "-d", str(work), LITERT, *NEEDS], f"the wheels of {LITERT} for Python {version} on aarch64")
    shutil.rmtree(site, ignore_errors=True)
    for wheel in sorted(work.glob("*.whl")):
        shutil.unpack_archive(wheel, site, "zip")


def _run(command: Sequence[str], what: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()[-60:])
        raise RuntimeUnavailableError(f"expected to get {what}; {command[0]} says: {said}")


def say(what: str) -> None:
    """Tell the user what happens."""
    print(f"{what} ...", file=sys.stderr)  # noqa: T201 - this module is a command
