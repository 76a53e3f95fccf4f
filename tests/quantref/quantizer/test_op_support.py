"""Every op that style quantref makes integer: LiteRT runs it, with the same integers as quantref."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import fbs
from qmath.affine import quantize as to_codes
from qmath.types import Array, DType
from quantref.quantizer import quantize
from quantref.quantizer.calibration import calibrate
from quantref.quantizer.feasibility import why_float
from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.op_support import BROKEN, SUPPORT
from quantref.runtimes import LiteRT, litert_installed
from tests.one_op import compare
from tests.quantref.quantizer.one_op_models import MODELS, one_op_model, samples

MODES = {DType.INT8: "int8", DType.INT16: "16x8"}
CASES = [(name, dtype) for name, support in SUPPORT.items() for dtype in MODES if dtype in support.dtypes]
#: Whose versions LiteRT's resolver of reference kernels does not know, unlike the one of optimized kernels.
NOT_AMONG_REFERENCE_KERNELS = {"TILE", "DEPTH_TO_SPACE", "ELU"}


@pytest.fixture(scope="module")
def optimized() -> Iterator[LiteRT]:
    if not litert_installed():
        pytest.skip("ai-edge-litert is not installed")
    with LiteRT("litert-optimized") as runtime:
        yield runtime


def codes_of(model: fbs.Model, data: list[list[np.ndarray]]) -> list[list[Array]]:
    """Return samples as the codes of a quantized model's inputs."""
    subgraph = model.subgraphs[0]
    inputs = [subgraph.tensors[index] for index in subgraph.inputs]
    return [[to_codes(x, t.quant) for x, t in zip(sample, inputs, strict=True) if t.quant] for sample in data]


def test_there_is_a_model_for_every_op() -> None:
    assert set(MODELS) == set(SUPPORT)
    assert len(CASES) > 100


@pytest.mark.litert
@pytest.mark.parametrize(("name", "dtype"), CASES, ids=[f"{name}-{MODES[dtype]}" for name, dtype in CASES])
def test_litert_runs_it_with_the_same_integers(name: str, dtype: DType, litert: LiteRT, optimized: LiteRT) -> None:
    model, io = one_op_model(name), dtype.name.lower()
    data = samples(model)
    quantized = quantize(
        model, mode=MODES[dtype], statistics=calibrate(model, data), input_type=io, output_type=io, fallback=False
    )
    runtime = optimized if name in NOT_AMONG_REFERENCE_KERNELS else litert
    assert compare(quantized, codes_of(quantized, data), runtime)


def test_an_op_without_an_integer_form_says_why() -> None:
    graph = FloatGraph(one_op_model("ELU"))
    assert why_float(graph, 0, DType.INT8) is None
    assert why_float(graph, 0, DType.INT16) == "ELU has no 16x8 form"


@pytest.mark.parametrize("name", BROKEN)
def test_an_op_that_every_runtime_gets_wrong_stays_float(name: str) -> None:
    b = fbs.Builder()
    x, y = b.input("x", DType.FLOAT32, (1, 4)), b.tensor("y", DType.FLOAT32, (1,))
    b.op(name, [x, b.constant("axis", np.array(1, np.int32))], [y])
    reason = why_float(FloatGraph(b.finish([y])), 0, DType.INT8)
    assert reason == BROKEN[name]
