"""Fixtures for every test: the runtime to compare with, and the folder of real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from quantref.runtimes import LiteRT, litert_installed

_ROOT = Path(__file__).resolve().parent.parent

# A machine that is busy with something else makes an example slow, not wrong.
hypothesis.settings.register_profile("quantref", deadline=None)
hypothesis.settings.load_profile("quantref")


@pytest.fixture(scope="session")
def litert() -> Iterator[LiteRT]:
    """LiteRT's reference kernels in a child process that serves the whole session."""
    if not litert_installed():
        pytest.skip("ai-edge-litert is not installed")
    with LiteRT("litert-reference") as runtime:
        yield runtime


@pytest.fixture(scope="module", params=["litert-optimized", "xnnpack"])
def other_litert(request: pytest.FixtureRequest) -> Iterator[LiteRT]:
    """LiteRT's optimized kernels without and with the XNNPACK delegate."""
    if not litert_installed():
        pytest.skip("ai-edge-litert is not installed")
    with LiteRT(request.param) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real models and goldens that lies beside the checkout."""
    folder = _ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of the bundled digits data and models."""
    return _ROOT / "quantref" / "data"
