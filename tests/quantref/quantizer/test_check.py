"""Whatever style quantref writes passes the check against the quantization spec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import fbs
import quantref
from quantref import demo
from quantref.npz import load_npz
from quantref.quantizer import quantize
from tests.quantref.quantizer.test_runs import ASKED, calibrated

#: Warnings that the values of a model themselves call for: rules by part of the model's name.
_OWN_WARNINGS = {"edge": {"QR401", "QR405", "QR601"}, "32-bit biases": {"QR501"}}


def check(name: str, model: fbs.Model) -> int:
    """Check a model as a file holds it, and return how many ops were looked at."""
    found = quantref.check(fbs.write(model))
    expected = {rule for part, rules in _OWN_WARNINGS.items() if part in name for rule in rules}
    bad = [
        finding
        for finding in found
        if finding.severity.name == "ERROR" or (finding.severity.name == "WARNING" and finding.rule.id not in expected)
    ]
    old = [finding for finding in found if finding.rule.id == "QR706"]  # versions lower than the types call for
    assert not bad + old, "\n".join([name, *map(str, bad + old)])
    return found.ops


@pytest.mark.shared
@pytest.mark.parametrize("name", ["convnet", "edge", "lstm", "mixed16", "ties"])
def test_every_mode_of_the_converters_models(name: str, shared: Path) -> None:
    model, statistics = calibrated(shared, name)
    for asked, arguments in ASKED.items():
        needed = {"statistics": statistics} if "8" in arguments["mode"] else {}
        assert check(f"{name}, {asked}", quantize(model, **arguments, **needed))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["qat", "qatpc"])
def test_models_from_training(name: str, shared: Path) -> None:
    model = fbs.read(shared / "converter" / f"{name}.float32_keepfq.tflite")
    for mode in ("int8", "uint8"):
        assert check(f"{name}, {mode}", quantize(model, mode=mode, input_type=mode, output_type=mode))


def digits() -> Iterator[tuple[str, fbs.Model]]:
    images = load_npz(demo.DATA / "digits.npz")["train_images"][:20]
    yield from demo.digits_models(images).items()


def test_every_form_of_the_digits_network() -> None:
    for name, model in digits():
        assert check(name, model)
