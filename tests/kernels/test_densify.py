"""DENSIFY against LiteRT and by hand; ops that do not know sparse constants."""

from __future__ import annotations

import numpy as np
import pytest

import fbs
import quantref
from fbs.sparsity import DimensionMetadata, Sparsity
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.densify import CELLS
from tests.kernels.forms import prepare_op
from tests.kernels.sweeps import compare_cell

#: Rows (0, 7, 0) and (0, 0, -9).
ROWS = Sparsity(
    (0, 1),
    (),
    (DimensionMetadata(0, 2), DimensionMetadata(1, 0, np.array([0, 1, 2], np.int32), np.array([1, 2], np.int32))),
)


def model_of(op: str, *, sparse: bool = True) -> fbs.Model:
    """Build an op that reads a constant, twice if it is a binary one."""
    b = fbs.Builder()
    stored = {"shape": (2, 3), "sparsity": ROWS} if sparse else {}
    x = b.constant("x", np.array([7, -9], np.int8), **stored)
    y = b.tensor("y", DType.INT8, (2, 3))
    b.op(op, [x] if op == "DENSIFY" else [x, x], [y])
    return b.finish([y])


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=2000) >= 2000


def test_gaps_are_zeros():
    assert quantref.run(model_of("DENSIFY"), {})["y"].tolist() == [[0, 7, 0], [0, 0, -9]]


def test_a_dense_constant_is_refused():
    with pytest.raises(ModelError, match="'x' to be a sparse constant"):
        prepare_op(model_of("DENSIFY", sparse=False))


@pytest.mark.parametrize("op", ["MAXIMUM", "CONCATENATION", "BATCH_MATMUL"])
def test_ops_that_know_no_gaps_refuse_them(op):
    with pytest.raises(UnsupportedError, match=f"{op} with the sparse constant 'x'"):
        prepare_op(model_of(op))


@pytest.mark.parametrize("profile", ["xnnpack", "xnnpack-arm64"])
@pytest.mark.parametrize("reader", [None, "ADD", "ADD_N"])
def test_a_delegate_writes_no_output_that_it_alone_reads(reader, profile):
    """XNNPACK adds by ADD, and leaves ADD_N, for which LiteRT spreads the constant out."""
    b = fbs.Builder()
    x = b.constant("x", np.array([7, -9], np.float32), shape=(2, 3), sparsity=ROWS)
    dense, total = (b.tensor(name, DType.FLOAT32, (2, 3)) for name in ("dense", "total"))
    b.op("DENSIFY", [x], [dense])
    if reader:
        b.op(reader, [dense, dense], [total])
    model = b.finish([dense, total] if reader else [dense])
    if reader == "ADD_N":
        assert quantref.run(model, {}, profile=profile)["total"].tolist() == [[0, 14, 0], [0, 0, -18]]
        return
    with pytest.raises(UnsupportedError, match="memory that nobody wrote"):
        quantref.run(model, {}, profile=profile)
