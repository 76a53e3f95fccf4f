"""The options by which pytest runs a golden-vector suite of quantref; nothing of quantref is imported without them.

The plug-in itself is :mod:`quantref.pytest_plugin`. This module is apart from the package so that pytest runs that
do not use it pay nothing for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("quantref", "quantref: golden vectors for quantized TensorFlow Lite")
    group.addoption("--quantref-suite", metavar="DIR", help="Collect a test for every case of a suite.")
    group.addoption(
        "--quantref-runner",
        metavar="R",
        help="The device: litert-reference, litert-optimized, xnnpack, quantref:PROFILE, module:function, a folder of "
        "outputs, or a command with {model} {inputs} {outputs}.",
    )
    group.addoption("--quantref-profile", metavar="P", help="Whose outputs are expected; by default the suite's first.")
    group.addoption("--quantref-cases", metavar="PATTERN", help="Shell pattern of the names of cases to run.")
    group.addoption("--quantref-expected-failures", metavar="FILE", help="Known failures: lines of 'PATTERN # reason'.")
    group.addoption(
        "--quantref-timeout", metavar="S", type=float, default=60.0, help="Seconds the device has for a case (60)."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Bring in the plug-in, if there is a suite to run."""
    if config.getoption("--quantref-suite") is not None:
        from quantref import pytest_plugin  # noqa: PLC0415 - only where it is used

        pytest_plugin.register(config)
