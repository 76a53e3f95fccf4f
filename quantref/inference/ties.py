"""Aims at an input on which two roundings differ, by solving for it.

Two profiles that prepare an op alike but for the rounding disagree on some accumulators only. For an op that sums
products of the model's own input, one element of that input can be moved such that an accumulator becomes one of them:
the move is the distance divided by the weight that the element meets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import fbs
from kernels.engine.types import Prepared
from qmath.errors import QuantrefError
from qmath.requantize import Requantize
from qmath.types import Array, Int64Array
from quantref.execution import Graph
from quantref.parameters import holders
from quantref.recording import Recorder

#: How far from an accumulator to look for one on which the profiles disagree.
REACH = 4096
#: Output elements that are tried, drawn at random.
ELEMENTS = 16


def aim(
    graphs: Sequence[Graph], sample: Sequence[Array], rng: np.random.Generator, elements: int = ELEMENTS
) -> list[Array] | None:
    """Return a sample with one element changed, on which an op that reads the input differs under two profiles.

    Parameters
    ----------
    graphs
        The model's main subgraph under both profiles.
    sample
        Inputs to start from.
    rng
        Draws the op and the output elements to try.
    elements
        How many output elements to try.

    Returns
    -------
    The inputs, or None if no op sums products of an input, or nothing near leads to a disagreement.

    """
    subgraph = graphs[0].subgraph
    values = dict(zip(subgraph.inputs, sample, strict=True))
    able = [index for index, op in enumerate(subgraph.operators) if _reads_input_and_constants(subgraph, op)]
    if not able:
        return None
    index = int(rng.choice(able))
    number = subgraph.operators[index].inputs[0]
    inputs = [values[n] if n in values else _constant(subgraph, n) for n in subgraph.operators[index].inputs]
    try:
        pair = [graph.step(index, inputs).prepared for graph in graphs]
        moved = _moved(pair, inputs, subgraph.tensors[number], rng, elements)
    except (QuantrefError, ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return None if moved is None else [moved if n == number else values[n] for n in subgraph.inputs]


def _constant(subgraph: fbs.Subgraph, number: int) -> Array | None:
    return None if number < 0 else subgraph.tensors[number].data


def _reads_input_and_constants(subgraph: fbs.Subgraph, operator: fbs.Operator) -> bool:
    first, *rest = operator.inputs or (-1,)
    constant = all(number < 0 or subgraph.tensors[number].data is not None for number in rest)
    return first in subgraph.inputs and bool(rest) and constant


def _moved(
    pair: Sequence[Prepared], inputs: Sequence[Array | None], tensor: fbs.Tensor, rng: np.random.Generator, tries: int
) -> Array | None:
    """Return the op's input with one element changed."""
    requantize = [list(holders(prepared, Requantize).values()) for prepared in pair]
    if any(len(held) != 1 for held in requantize) or inputs[0] is None or not tensor.dtype.is_integer:
        return None
    recorder = Recorder(keep_terms=False, keep_rules=False)
    (output,) = pair[0].evaluate(inputs, recorder)
    accumulators = next((stage.value for stage in recorder.stages if stage.name == "accumulator"), None)
    if accumulators is None or accumulators.shape != output.shape:
        return None
    for flat in rng.integers(0, output.size, tries):
        index = tuple(int(i) for i in np.unravel_index(flat, output.shape))
        ways = _disagreements(requantize[0][0], requantize[1][0], accumulators, index)
        found = _solve(pair[0], inputs, index, ways, tensor)
        if found is not None:
            return found
    return None


def _disagreements(first: Requantize, second: Requantize, accumulators: Array, index: tuple[int, ...]) -> Int64Array:
    """Return how far one accumulator is from those on which two requantizations disagree, the nearest first."""
    channels = accumulators.shape[-1]
    steps = np.arange(-REACH, REACH + 1, dtype=np.int64)
    near = np.broadcast_to((accumulators[index].astype(np.int64) + steps)[:, None], (steps.size, channels))
    differs = (first(near) != second(near))[:, index[-1]]
    found = steps[differs]
    return np.asarray(found[np.argsort(np.abs(found), kind="stable")], np.int64)


def _solve(
    prepared: Prepared,
    inputs: Sequence[Array | None],
    index: tuple[int, ...],
    distances: Int64Array,
    tensor: fbs.Tensor,
) -> Array | None:
    """Return the input with the one element moved that carries an accumulator over one of some distances."""
    products = prepared.products(inputs, index)
    x = inputs[0]
    if products is None or x is None or len(products.factors) != 2:
        return None
    read, weighed = products.factors
    if read.source != 0 or not isinstance(weighed.source, int):
        return None
    weights = _at(inputs[weighed.source], weighed.index) - weighed.zero_point
    codes = _at(x, read.index)
    for distance in distances[:256]:
        fits = (weights != 0) & (distance % np.where(weights == 0, 1, weights) == 0)
        moved = codes + distance // np.where(weights == 0, 1, weights)
        fits &= (tensor.dtype.min <= moved) & (moved <= tensor.dtype.max)
        if fits.any():
            place = int(np.argmax(fits))
            changed = x.copy()
            changed[tuple(int(i) for i in read.index[place])] = moved[place]
            return changed
    return None


def _at(array: Array | None, index: Int64Array) -> Int64Array:
    if array is None:
        raise LookupError("expected an array to read from, found none")
    return np.asarray(array[tuple(index.T)], np.int64)
