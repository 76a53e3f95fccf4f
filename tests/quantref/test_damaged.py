"""Damaged models give a result or a QuantrefError, nothing else; the module, run with paths of models, tries many."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fbs
import quantref
from kernels.profiles import PROFILES
from qmath.errors import InputError, QuantrefError, UnsupportedError
from qmath.types import DType
from quantref.multipliers import multipliers

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


def _lone_op(op: str, shapes: list[tuple[int, ...]], **options: int) -> fbs.Model:
    builder = fbs.Builder()
    x = builder.input("x", DType.INT16, (1, 4), scale=0.5)
    weights = [builder.constant(f"w{n}", np.ones(shape, np.int8), scale=0.5) for n, shape in enumerate(shapes)]
    y = builder.tensor("y", DType.INT16, (1, 4), scale=0.5)
    builder.op(op, [x, *weights], [y], **options)
    return builder.finish([y])


@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("shapes", [[], [()], [(4,)], [(4, 4, 1)]])
def test_weights_that_are_absent_or_of_another_rank_are_named(profile: str, shapes: list[tuple[int, ...]]) -> None:
    model = _lone_op("FULLY_CONNECTED", shapes)
    refusal = multipliers(model, profile).refusals[0]
    assert re.search("expected|has no|reads an", refusal), refusal
    with pytest.raises(QuantrefError, match=r"expected|has no|reads an"):
        quantref.run(model, {"x": np.zeros((1, 4), np.int16)}, profile)
    if profile.startswith("xnnpack"):
        (op,) = quantref.partition(model, profile).ops
        assert op.reason
        assert "cannot be run" not in op.reason


def test_a_state_starts_at_the_lowest_byte_of_its_zero_point() -> None:
    builder = fbs.Builder()
    builder.variable("state", DType.INT8, (2,), scale=0.5, zero_point=4294967292)
    interpreter = quantref.Interpreter(builder.finish([0]))
    interpreter.allocate_tensors()
    assert interpreter.get_tensor(0).tolist() == [-4, -4]


def test_a_variable_larger_than_any_tensor_is_refused_before_it_is_made() -> None:
    b = fbs.Builder()
    x = b.input("x", DType.FLOAT32, (1,))
    y = b.tensor("y", DType.FLOAT32, (1,))
    b.variable("state", DType.FLOAT32, (1 << 20, 1 << 20))
    b.op("ADD", [x, x], [y])
    interpreter = quantref.Interpreter(fbs.write(b.finish(outputs=[y])))
    with pytest.raises(UnsupportedError, match=r"tensor 2 \('state'\): expected at most 268435456 elements"):
        interpreter.allocate_tensors()


@pytest.mark.parametrize("path", ["x" * 5000, "x\0y", "", "/dev/null", "/"])
def test_paths_that_no_model_has_are_named(path: str) -> None:
    with pytest.raises(InputError, match="expected a file, found none at"):
        quantref.load(path)


if __name__ == "__main__":
    for path in sys.argv[1:]:
        totals: dict[str, int] = {}
        for copy in damaged(Path(path).read_bytes(), 400, seed=2):
            what = outcome(copy)
            totals[what] = totals.get(what, 0) + 1
        sys.stdout.write(f"{path}: {totals}\n")
