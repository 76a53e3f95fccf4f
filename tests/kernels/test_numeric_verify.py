"""NumericVerify against LiteRT and by hand, and the options of custom ops."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

import fbs
from kernels.engine.flexbuffers import scalars
from qmath.errors import ModelError
from qmath.types import Array, DType
from quantref.runtimes import LiteRT
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op
from tests.kernels.forms import run_forms, trace
from tests.kernels.sweeps import examples

DEQUANTIZED = [np.int8, np.uint8, np.int16]


def written(options: dict[str, float | bool]) -> bytes:
    """Return a FlexBuffers map."""
    builder = flexbuffers.Builder()
    builder.MapFromElements(options)
    return bytes(builder.Finish())


def model_of(x: Array, reference: Array, options: dict[str, float | bool], **params: float) -> fbs.Model:
    """Build a NumericVerify: a SUB made over, since the builder writes builtin ops alone."""
    model = one_op("", "SUB", [Operand(x, params=params), Operand(reference)], [Result(DType.FLOAT32)]).model
    graph = model.subgraphs[0]
    code = fbs.OperatorCode("CUSTOM", 1, "NumericVerify")
    operator = replace(graph.operators[0], code=code, options=None, custom_options=written(options))
    return replace(model, subgraphs=(replace(graph, operators=(operator,)),))


def test_difference_by_hand():
    # Code 7 with scale 0.5 and zero point 1 stands for 3.0.
    model = model_of(np.array([7], np.int8), np.float32([2.75]), {}, scale=0.5, zero_point=1)
    (y,), stages = trace(model, {"x0": np.array([7], np.int8), "x1": np.float32([2.75])})
    assert stages["real"] == [3.0]
    assert y.tolist() == [0.25]


@pytest.mark.litert
@pytest.mark.parametrize("dtype", [*DEQUANTIZED, np.float16])
def test_litert_gives_the_same(dtype: type, litert: LiteRT):
    rng = np.random.default_rng(4)
    x = rng.integers(-100 if dtype != np.uint8 else 0, 100, (3, 5)).astype(dtype)
    params = {} if dtype == np.float16 else {"scale": 0.3, "zero_point": 0 if dtype == np.int16 else 3}
    sample = {"x0": x, "x1": rng.standard_normal((3, 5)).astype(np.float32)}
    model = model_of(x, sample["x1"], {"tolerance": 5.0, "log_if_failed": False}, **params)
    (answer,) = litert.run(fbs.write(model), [list(sample.values())], all_tensors=False)
    for (found,) in run_forms(model, sample):
        assert np.array_equal(found, answer.outputs[0])
        assert found.dtype == dtype_of(found).storage == np.float32


def test_stops_at_a_difference_beyond_the_tolerance():
    x, near, far = np.array([4], np.int8), np.float32([3.0]), np.float32([1.9])
    model = model_of(x, near, {"tolerance": 4.0, "log_if_failed": True}, scale=0.5, zero_point=0)
    assert run_forms(model, {"x0": x, "x1": near})[0][0].tolist() == [-1.0]
    with pytest.raises(ModelError, match="the runtime stops"):
        run_forms(model, {"x0": x, "x1": np.float32([4.2])})
    lenient = model_of(x, far, {"tolerance": 0.05, "log_if_failed": True}, scale=0.5, zero_point=0)
    assert run_forms(lenient, {"x0": x, "x1": far})[0][0].tolist() == [np.float32(2) - np.float32(1.9)]


@examples(40)
@given(
    options=st.dictionaries(
        st.text("abcdefg_", min_size=1, max_size=8),
        st.booleans() | st.integers(-(1 << 40), 1 << 40) | st.floats(width=32, allow_nan=False),
        max_size=6,
    )
)
def test_scalars_are_those_written(options):
    assert scalars(written(options)) == options


@examples(60)
@given(data=st.data())
def test_damaged_options_are_read_or_refused(data):
    content = bytearray(written({"tolerance": 5.0, "log_if_failed": True}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ModelError):  # any other error fails the test
        scalars(bytes(content[: data.draw(st.integers(0, len(content)))]))
