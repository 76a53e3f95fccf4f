"""Damaged models give a result or a QuantrefError, nothing else; the module, run with paths of models, tries many."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fbs
import quantref
from qmath.errors import QuantrefError

WORDS = (0, 1, 2, 4, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC, 0x00010000, 0x7FC00000, 0x100, 0x1000)
MODELS = ("digits_int8.tflite", "digits_dynamic.tflite", "digits_int16x8.tflite")
#: Seconds within which a damaged model must have come to its end.
LIMIT = 10.0


def damaged(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield copies damaged where the structure lies: outside the buffers of weights."""
    structure = np.ones(len(data), bool)
    for buffer in fbs.read(data).buffers:
        start = data.find(buffer.data.tobytes()) if buffer.data is not None and buffer.data.size >= 32 else -1
        if start > 0:
            structure[start : start + buffer.data.size] = False
    places = np.flatnonzero(structure)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(int(rng.geometric(0.6))):
            _hurt(copy, places, rng)
        yield bytes(copy)


def _hurt(copy: bytearray, places: np.ndarray, rng: np.random.Generator) -> None:
    place, kind = int(rng.choice(places)), rng.integers(6)
    word = place & ~3
    if place >= len(copy):
        return  # an earlier hurt cut the file before it
    if kind == 0:
        copy[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        copy[place] = int(rng.integers(256))
    elif kind == 2:
        copy[word : word + 4] = int(rng.choice(WORDS)).to_bytes(4, "little")
    elif kind == 3:
        copy[word : word + 4] = (int(rng.integers(-64, 64)) & 0xFFFFFFFF).to_bytes(4, "little")
    elif kind == 4:
        other = int(rng.choice(places)) & ~3
        copy[word : word + 4] = copy[other : other + 4]
    elif rng.integers(4) == 0:
        del copy[max(place, 12) :]


def outcome(data: bytes) -> str:
    """Run a model on zeros and say what came of it; anything but a QuantrefError leaves this function."""
    try:
        interpreter = quantref.Interpreter(model_content=data)
        interpreter.allocate_tensors()
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            interpreter.get_tensor(detail["index"])
    except QuantrefError as error:
        return type(error).__name__
    return "ran"


@pytest.mark.parametrize("name", MODELS)
def test_damaged_models(data: Path, name: str) -> None:
    found: dict[str, int] = {}
    for copy in damaged((data / name).read_bytes(), 60, seed=1):
        start = time.monotonic()
        what = outcome(copy)
        assert time.monotonic() - start < LIMIT
        found[what] = found.get(what, 0) + 1
    assert found.get("ran", 0) > 0, "nothing survived, so nothing was run"
    assert found.get("ModelError", 0) > 0, "nothing was found damaged"


if __name__ == "__main__":
    for path in sys.argv[1:]:
        totals: dict[str, int] = {}
        for copy in damaged(Path(path).read_bytes(), 400, seed=2):
            what = outcome(copy)
            totals[what] = totals.get(what, 0) + 1
        sys.stdout.write(f"{path}: {totals}\n")
