"""Samples to run a model on: drawn at random from a seed, or taken from arrays that somebody has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

import fbs
from qmath.errors import InputError, UnsupportedError
from qmath.types import Array, DType
from quantref.locations import located
from quantref.names import tensor_keys

#: Integers without quantization are mostly indices or lengths: they are drawn from 0 to this, exclusive.
INDEX_LIMIT = 8


def random_samples(model: fbs.Model, count: int, seed: int = 0) -> list[list[Array]]:
    """Draw inputs for the main subgraph: the same for the same model, sample number and seed.

    Integer codes come from their whole range, floats that are quantized at once from the range of that
    quantization and a little beyond, other floats from the standard normal distribution, integers without
    quantization from 0 to 7.

    Returns
    -------
    One list of arrays, in input order, for each sample.

    Raises
    ------
    InputError
        The number of samples or the seed is none.
    UnsupportedError
        An input has a type that nothing sensible can be drawn for, such as strings, or is too large for the memory.
    ModelError
        An input is larger than any array.

    """
    graph = model.subgraphs[0]
    for name, number in (("number of samples", count), ("seed", seed)):
        if not isinstance(number, int | np.integer) or number < 0:
            raise InputError(f"expected a {name} that is a whole number and not negative, found {number!r}")
    return [
        [
            _drawn(graph, index, np.random.default_rng([seed, sample, position]))
            for position, index in enumerate(graph.inputs)
        ]
        for sample in range(count)
    ]


def _drawn(graph: fbs.Subgraph, index: int, rng: np.random.Generator) -> Array:
    with located(f"input {index} ({graph.tensors[index].name!r})"), np.errstate(over="ignore", under="ignore"):
        return _draw(graph, index, rng)


def _draw(graph: fbs.Subgraph, index: int, rng: np.random.Generator) -> Array:
    tensor = graph.tensors[index]
    dtype, shape = tensor.dtype, tensor.shape
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.is_integer:
        low, high = (dtype.min, dtype.max + 1) if tensor.quant or dtype.bits < 32 else (0, INDEX_LIMIT)
        return rng.integers(low, high, shape, dtype=dtype.storage)
    if dtype in {DType.FLOAT32, DType.FLOAT16, DType.FLOAT64}:
        real = _real_range(graph, index)
        values = rng.uniform(*real, shape) if real else rng.standard_normal(shape)
        return np.asarray(values, dtype.storage)
    raise UnsupportedError(f"cannot draw random values of type {dtype.name}; give inputs")


def _real_range(graph: fbs.Subgraph, index: int) -> tuple[float, float] | None:
    """Return the range that a QUANTIZE of this tensor covers, widened by a twentieth; or None."""
    for operator in graph.operators:
        if operator.name == "QUANTIZE" and index in operator.inputs:
            codes = graph.tensors[operator.outputs[0]]
            if codes.quant is not None and codes.dtype.is_integer:
                scale, zero_point = float(codes.quant.scale[0]), int(codes.quant.zero_point[0])
                low, high = scale * (codes.dtype.min - zero_point), scale * (codes.dtype.max - zero_point)
                margin = (high - low) / 20
                return low - margin, high + margin
    return None


def samples_from(model: fbs.Model, arrays: Mapping[str, npt.ArrayLike]) -> list[list[Array]]:
    """Cut arrays into samples.

    Parameters
    ----------
    model
        The model to feed.
    arrays
        One array an input, keyed by the tensor's name, ``index:name``, or the name in a signature. It has the
        input's shape, and then is one sample; or samples along axis 0, either instead of a first dimension of 1
        or in front of all dimensions.

    Returns
    -------
    One list of arrays, in input order, for each sample.

    Raises
    ------
    InputError
        An input is missing or unknown, has another type or shape, or inputs differ in their number of samples.

    """
    names = input_numbers(model)
    unknown = [key for key in arrays if key not in names]
    if unknown:
        raise InputError(f"expected inputs named {_listed(model)}, found {unknown[0]!r}")
    given: dict[int, tuple[str, Array]] = {}
    for key, array in arrays.items():
        if names[key] in given:
            raise InputError(f"expected one array for each input, found {given[names[key]][0]!r} and {key!r} for one")
        given[names[key]] = key, as_array(key, array)
    if not model.subgraphs[0].inputs:
        return [[]]  # nothing to give is one way to run it
    columns = []
    for index in model.subgraphs[0].inputs:
        if index not in given:
            raise InputError(
                f"expected an array for each input ({_listed(model)}), found {', '.join(arrays) or 'none'}"
            )
        columns.append(_cut(model.subgraphs[0].tensors[index], *given[index]))
    counts = {len(column) for column in columns}
    if len(counts) > 1:
        raise InputError(f"expected the same number of samples for every input, found {sorted(counts)}")
    return [list(row) for row in zip(*columns, strict=True)]


def input_numbers(model: fbs.Model) -> dict[str, int]:
    """Return every key that means an input: names in signatures, ``index:name``, and the tensors' own keys."""
    graph = model.subgraphs[0]
    keys = tensor_keys(graph)
    signed = {
        name: index
        for signature in model.signatures
        if signature.subgraph_index == 0
        for name, index in signature.inputs
        if index in graph.inputs
    }
    numbered = {f"{index}:{graph.tensors[index].name}": index for index in graph.inputs}
    return signed | numbered | {keys[index]: index for index in graph.inputs}


def _listed(model: fbs.Model) -> str:
    graph = model.subgraphs[0]
    keys = tensor_keys(graph)
    return ", ".join(repr(keys[index]) for index in graph.inputs)


def _cut(tensor: fbs.Tensor, name: str, array: Array) -> list[Array]:
    values = as_type(tensor, name, array)
    if values.shape == tensor.shape:
        return [values]
    if values.shape[1:] == tensor.shape:
        return list(values)
    if tensor.shape[:1] == (1,) and values.shape[1:] == tensor.shape[1:]:
        return [values[sample : sample + 1] for sample in range(len(values))]
    wanted = list(tensor.shape)
    raise InputError(f"input {name!r}: expected shape {wanted}, or samples along axis 0, found {list(values.shape)}")


def as_array(name: str, value: npt.ArrayLike) -> Array:
    """Return what somebody gave as an array.

    Raises
    ------
    InputError
        It is none, such as lists of different lengths; ``name`` is what the message calls it.

    """
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name!r}: expected an array, found something else: {error}") from None


def as_type(tensor: fbs.Tensor, name: str, array: Array) -> Array:
    """Return an array of the tensor's own type, if that takes no more than rounding a float.

    Raises
    ------
    InputError
        It takes more; ``name`` is what the message calls the array.

    """
    wanted = tensor.dtype.storage
    if array.dtype == wanted:
        return array
    both_float = np.issubdtype(array.dtype, np.floating) and np.issubdtype(wanted, np.floating)
    both_integer = np.issubdtype(array.dtype, np.integer) and tensor.dtype.is_integer
    if both_float:
        return array.astype(wanted)
    if both_integer:
        if array.size == 0 or (tensor.dtype.min <= array.min() and array.max() <= tensor.dtype.max):
            return array.astype(wanted)
        raise InputError(f"{name!r}: expected {wanted}, found {array.dtype} from {array.min()} to {array.max()}")
    raise InputError(f"{name!r}: expected {wanted}, found {array.dtype}")
