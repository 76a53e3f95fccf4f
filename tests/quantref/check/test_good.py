"""Nothing is found in good models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fbs
import quantref as qr
from tests.quantref.check import models

GOOD: dict[str, Callable[[], fbs.Model]] = {
    "network": models.network,
    "16x8": models.wide,
    "dense": lambda: models.dense(models.codes(1, 4, 8)),
    "16x8 dense": lambda: models.dense(models.codes(1, 4, 8), wide=True, y_scale=2.0**-4),
    "add": lambda: models.elementwise("ADD", 2, (0.1, 0.2, 0.25)),
    "transposed convolution": models.transposed,
    "lstm": models.lstm,
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_found(name: str) -> None:
    found = qr.check(GOOD[name]())
    assert not found.items, found.summary()
    assert found.ops > 0


@pytest.mark.parametrize("name", ["digits_int8.tflite", "digits_float32.tflite", "digits_dynamic.tflite"])
def test_the_bundled_models_are_clean(data: Path, name: str) -> None:
    assert not qr.check(data / name).at_least(qr.Severity.WARNING)


def test_a_model_read_back_is_checked_alike() -> None:
    model = models.network()
    assert qr.check(fbs.write(model)).to_json() == qr.check(model).to_json()
    assert np.all(models.tensor(model, "conv_w").data > -128)
