"""Tensors without elements: every op either gives what LiteRT gives, or both refuse."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

import fbs
import quantref
from qmath.errors import QuantrefError
from qmath.types import Array
from quantref.runtimes import LiteRT, RuntimeRefused
from quantref.vectors.cells.case import Case
from tests.sweep import all_cells

#: Where LiteRT divides by zero and dies, or reads what lies before its buffers, and no comparison is possible.
LEFT_OUT = ("REVERSE_V2", "REVERSE_SEQUENCE", "STRIDED_SLICE")


def _cells() -> list[str]:
    """Choose one cell an op: the plainest of int8, if there is one."""
    chosen: dict[str, str] = {}
    for cell in sorted(
        all_cells(), key=lambda name: ("int8" not in name, "sparse" in name, "shuffled" in name, len(name), name)
    ):
        chosen.setdefault(cell.split()[0], cell)
    return sorted(cell for op, cell in chosen.items() if op not in LEFT_OUT)


def _case(cell: str) -> tuple[Case, list[Array]] | None:
    """Return a case whose inputs have one shape."""
    for case in islice(all_cells()[cell](np.random.default_rng(3)), 12):
        sample = case.ordered()[0]
        if case.runtime == "litert-reference" and len({array.shape for array in sample}) == 1 and sample[0].ndim:
            return case, sample
    return None


def _ours(model: fbs.Model, sample: list[Array]) -> list[Array] | None:
    """Run a model on resized inputs; None if that is refused."""
    interpreter = quantref.Interpreter(model)
    graph = interpreter.model.subgraphs[0]
    try:
        for index, value in zip(graph.inputs, sample, strict=True):
            interpreter.resize_tensor_input(index, value.shape)
        interpreter.allocate_tensors()
        for index, value in zip(graph.inputs, sample, strict=True):
            interpreter.set_tensor(index, value)
        interpreter.invoke()
    except QuantrefError:
        return None
    return [interpreter.get_tensor(index) for index in graph.outputs]


def _theirs(model: fbs.Model, sample: list[Array], litert: LiteRT) -> tuple[list[Array] | None, str]:
    """Run a model on resized inputs; None and why if that is refused."""
    try:
        (answer,) = litert.run(fbs.write(model), [sample], all_tensors=False, resize=True)
    except RuntimeRefused as refusal:
        return None, str(refusal)
    return list(answer.outputs), ""


@pytest.mark.litert
@pytest.mark.parametrize("cell", _cells())
def test_litert_gives_the_same_of_nothing(cell: str, litert: LiteRT):
    found = _case(cell)
    if found is None:
        pytest.skip("its inputs are of different shapes")
    case, sample = found
    for axis in {0, sample[0].ndim - 1}:
        empty = [np.ascontiguousarray(np.take(array, [], axis=axis)) for array in sample]
        ours = _ours(case.model, empty)
        theirs, refusal = _theirs(case.model, empty, litert)
        if theirs is None:
            # LiteRT's Python interface hands out no empty outputs of unknown size.
            assert ours is None or "Invalid tensor size" in refusal
            continue
        assert ours is not None
        for expected, value in zip(theirs, ours, strict=True):
            assert (value.shape, value.dtype) == (expected.shape, expected.dtype)
            assert np.array_equal(value, expected, equal_nan=value.dtype.kind == "f")
