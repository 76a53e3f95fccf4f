"""An explanation tells the kernel's own story: for every op, each number is calculated again from what is printed."""

from __future__ import annotations

import importlib
import pkgutil
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache, reduce
from itertools import islice
from operator import mul

import numpy as np
import pytest

import fbs
import quantref as qr
from kernels.engine.registry import registry
from qmath.errors import QuantrefError
from qmath.types import Array
from quantref.explain.explanation import Scalar, Sum
from quantref.vectors import cells
from quantref.vectors.cells.case import Case, Generator
from tests.oracles.calculator import press

#: Cells of an op that are looked at, and how many cases of a cell may be refused or empty before it is given up.
CELLS_OF_AN_OP, PATIENCE = 3, 12


@cache
def generators() -> dict[str, list[tuple[str, Generator]]]:
    """Return the cells of each op: those with integers first."""
    found: dict[str, list[tuple[str, Generator]]] = defaultdict(list)
    for module in pkgutil.iter_modules(cells.__path__):
        for cell, generator in getattr(
            importlib.import_module(f"quantref.vectors.cells.{module.name}"), "CELLS", {}
        ).items():
            found[cell.split()[0]].append((cell, generator))
    for listed in found.values():
        listed.sort(key=lambda entry: "int8" not in entry[0])
    return found


def runnable(cell: str, generator: Generator) -> Iterator[tuple[Case, Array]]:
    """Yield cases that the reference profile runs, with their first output, if it has elements."""
    for case in islice(generator(np.random.default_rng(zlib.crc32(cell.encode()))), PATIENCE):
        model = with_shapes_of(case)
        try:
            outputs = qr.run(model, case.samples[0])
        except QuantrefError:
            continue
        value = next(iter(outputs.values()))
        if value.size and value.dtype.kind in "iufb":
            yield replace(case, model=model), value


def with_shapes_of(case: Case) -> fbs.Model:
    """Give the inputs of a model the shapes of its first sample."""
    (graph, *others), sample = case.model.subgraphs, case.samples[0]
    tensors = tuple(
        replace(tensor, shape=sample[tensor.name].shape) if number in graph.inputs else tensor
        for number, tensor in enumerate(graph.tensors)
    )
    return replace(case.model, subgraphs=(replace(graph, tensors=tensors), *others))


@pytest.mark.parametrize("op", sorted(registry()))
def test_every_step_is_calculated_again(op: str) -> None:
    compared = 0
    for cell, generator in generators().get(op, [])[:CELLS_OF_AN_OP]:
        for case, value in islice(runnable(cell, generator), 1):
            flat = zlib.crc32(cell.encode()) % value.size
            index = tuple(int(i) for i in np.unravel_index(flat, value.shape)) if value.ndim else ()
            explanation = qr.explain(
                case.model, case.samples[0], tensor=case.model.subgraphs[0].outputs[0], index=index
            )
            assert same(explanation.output.value, value[index].item())
            assert same(explanation.steps[-1].value, explanation.output.value)
            for step in (*explanation.constants, *explanation.steps):
                if step.numbers and not step.approximate:
                    assert press(step.numbers) == Fraction(step.value), f"{cell}: {step}"
            if explanation.sum is not None:
                check_sum(explanation.sum)
            assert explanation.output.place.startswith("output[")
            assert all(text for text in (str(explanation), explanation.to_markdown(), explanation._repr_html_()))
            compared += 1
    if op not in generators():
        pytest.skip("no generator of cases")
    assert compared, f"no case of {op} ran"


def same(found: Scalar, expected: Scalar) -> bool:
    """Whether two numbers are equal, or both no numbers; floats may differ as compiled sums of floats do."""
    if isinstance(found, float) and isinstance(expected, float) and found != expected:
        return (np.isnan(found) and np.isnan(expected)) or abs(found - expected) <= 1e-4 * max(abs(expected), 1e-3)
    return found == expected or bool(np.isnan(float(found)) and np.isnan(float(expected)))


def check_sum(found: Sum) -> None:
    """Multiply and add with Python's integers, or fractions."""
    products = [
        reduce(
            mul,
            (Fraction(f.value) - offset for f, offset in zip(product.factors, product.offsets, strict=True)),
            Fraction(1),
        )
        for product in found.products
    ]
    if found.exact:
        assert [Fraction(product.value) for product in found.products] == products
        assert (sum(products) if found.fold == "sum" else max(products)) == found.value
