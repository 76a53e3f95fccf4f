"""ADD and SUB laid out as planes: proven on every pair of 8-bit codes, to a margin on 16-bit ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import fbs
from kernels.engine import registry
from kernels.engine.planes import Plane, PlaneSum, UncertainPlane
from kernels.engine.plans import Scratch
from kernels.engine.program import run
from kernels.engine.types import Prepared
from kernels.profiles import LITERT_REFERENCE
from qmath.errors import QuantrefError
from qmath.stages import silent
from qmath.types import DType

SCALES = st.floats(1e-3, 10.0)


def prepared(name: str, dtype: DType, scales: tuple[float, float, float], zeros: tuple[int, int, int]) -> Prepared:
    """Prepare an ADD or SUB of two tensors."""
    builder = fbs.Builder()
    x1, x2 = (builder.input("x", dtype, (1, 4), scale=scales[slot], zero_point=zeros[slot]) for slot in (0, 1))
    y = builder.tensor("y", dtype, (1, 4), scale=scales[2], zero_point=zeros[2])
    options = {} if dtype is DType.INT8 else {"pot_scale_int16": False}
    builder.op(name, [x1, x2], [y], version=3, **options)
    subgraph = builder.finish([y]).subgraphs[0]
    try:
        return registry.prepare(fbs.view(subgraph, subgraph.operators[0]), LITERT_REFERENCE)
    except QuantrefError:
        reject()  # a sum that the runtime does not take


def laid_out(op: Prepared, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, Plane | UncertainPlane | None]:
    """Return what the plane gives, and the plane."""
    runner = op.compile((None, None))
    assert isinstance(runner, PlaneSum)
    codes = np.empty(first.shape, np.float64)
    if runner.plane is not None:
        run(runner.plane.lay_out(first, second, codes, Scratch()))
    return codes, runner.plane


@settings(max_examples=25, deadline=None)
@given(st.tuples(SCALES, SCALES, SCALES), st.tuples(*[st.integers(-128, 127)] * 3), st.sampled_from(["ADD", "SUB"]))
def test_a_plane_gives_every_pair_of_bytes_its_code(scales, zeros, name):
    op = prepared(name, DType.INT8, scales, zeros)
    domain = np.arange(-128, 128, dtype=np.int8)
    first, second = np.repeat(domain, 256), np.tile(domain, 256)
    codes, plane = laid_out(op, first, second)
    if plane is not None:
        (expected,) = op.evaluate((first, second), silent)
        np.testing.assert_array_equal(codes, expected)


@settings(max_examples=25, deadline=None)
@given(st.tuples(SCALES, SCALES, SCALES), st.integers(0, 2**32), st.sampled_from(["ADD", "SUB"]))
def test_a_plane_of_16_bits_leaves_what_is_in_doubt_to_the_definition(scales, seed, name):
    op = prepared(name, DType.INT16, scales, (0, 0, 0))
    first, second = np.random.default_rng(seed).integers(-(1 << 15), 1 << 15, (2, 20_000)).astype(np.int16)
    first[:300], second[:150] = np.iinfo(np.int16).min, np.iinfo(np.int16).max
    codes, plane = laid_out(op, first, second)
    if plane is not None:
        (expected,) = op.evaluate((first, second), silent)
        np.testing.assert_array_equal(codes, expected)


def test_pairs_on_a_step_are_in_doubt_and_put_right():
    op = prepared("ADD", DType.INT16, (1.0, 1.0, 2.0), (0, 0, 0))
    first = np.arange(-2000, 2000, dtype=np.int16)
    second = np.ones_like(first)
    codes, plane = laid_out(op, first, second)
    assert isinstance(plane, UncertainPlane)
    np.testing.assert_array_equal(codes, op.evaluate((first, second), silent)[0])
    assert not np.array_equal(codes, np.floor((first + 1) / 2 + 0.5))  # negative ties go away from zero


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
def test_scalars_are_laid_out_too(dtype):
    op = prepared("ADD", dtype, (0.1, 0.03, 0.07), (0, 0, 0))
    first, second = np.asarray(5, dtype.storage), np.asarray(4, dtype.storage)
    codes, plane = laid_out(op, first, second)
    assert plane is not None
    assert codes.shape == ()
    assert codes == op.evaluate((first, second), silent)[0] == 9


@pytest.mark.parametrize("scales", [(0.5, 0.5, 0.5), (0.1, 0.03, 0.07), (0.02, 0.3, 0.29)])
def test_common_scales_have_a_plane(scales):
    _, plane = laid_out(prepared("ADD", DType.INT8, scales, (3, -5, 10)), *np.zeros((2, 4), np.int8))
    assert isinstance(plane, Plane)
    _, plane = laid_out(prepared("SUB", DType.INT16, scales, (0, 0, 0)), *np.zeros((2, 4), np.int16))
    assert isinstance(plane, UncertainPlane)
