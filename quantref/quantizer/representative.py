"""Representative data: the samples that calibration and reports run a model on, in every form that users bring.

================================ ======================================================================
form                             what it holds
================================ ======================================================================
iterable, or callable giving one samples, one after the other; a generator is read once and never held
path of an ``.npz`` file         one array an input, samples along axis 0
dict of arrays by input name     the same
dict of iterables by signature   samples of each signature, as the AI Edge Quantizer takes them
array                            the same, for a model with one input
================================ ======================================================================

A sample is a list of arrays in input order, a dict of arrays by input name, ``(signature_key, dict)``, or for a model
with one input just its array. In an ``.npz`` file arrays go by input name, or all by position: ``in0``, ``in1`` ...
(the order of the model's inputs), or ``arr_0``, ``arr_1`` ... as ``numpy.savez`` calls what has no name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

import fbs
from qmath.errors import InputError, QuantrefError
from qmath.types import Array
from quantref.names import tensor_keys
from quantref.npz import load_npz

#: Whatever :class:`Samples` reads.
RepresentativeDataset: TypeAlias = (
    "Iterable[Any] | Callable[[], Iterable[Any]] | Mapping[str, Any] | Array | str | os.PathLike[str]"
)
#: How names of arrays that stand for positions begin.
_POSITIONAL = ("in", "arr_", "")


class Samples:
    """Representative data as lists of arrays in input order, checked one by one while they are read.

    The first sample may have another size than the model says, as in TFLiteConverter; those that follow have the
    first one's, except in dimensions that the model leaves open.

    Parameters
    ----------
    model
        The model to feed: its main subgraph.
    dataset
        See the module.

    Attributes
    ----------
    total
        How many samples there are; None if only reading them can tell.

    Raises
    ------
    InputError
        When created: whole arrays that do not fit the model. While read: a sample that does not, or has a NaN or an
        infinity in it; at the end: there were no samples.

    """

    def __init__(self, model: fbs.Model, dataset: RepresentativeDataset) -> None:
        self._inputs = _Inputs(model)
        self._source: Iterable[Any] = self._opened(dataset)
        self.total = len(self._source) if isinstance(self._source, Sequence) else None

    def __iter__(self) -> Iterator[list[Array]]:
        """Read the samples; a second time only if the data can be read twice."""
        inputs, shapes = self._inputs, None
        for number, given in enumerate(self._source):
            try:
                sample = [inputs.checked(slot, array) for slot, array in enumerate(inputs.in_order(given))]
                shapes = shapes or [array.shape for array in sample]
                for slot, (array, shape) in enumerate(zip(sample, shapes, strict=True)):
                    inputs.check_size(slot, array.shape, shape)
            except QuantrefError as error:
                raise error.within(f"sample {number}") from None
            yield sample
        if shapes is None:
            raise InputError("expected at least one sample, found none (a generator gives its samples only once)")

    def _opened(self, dataset: RepresentativeDataset) -> Iterable[Any]:
        if isinstance(dataset, str | os.PathLike):
            with_place = str(dataset)
            arrays = load_npz(dataset)
            try:
                return self._inputs.cut(arrays)
            except QuantrefError as error:
                raise error.within(with_place) from None
        if isinstance(dataset, Mapping):
            by_signature = self._inputs.are_signatures(dataset)
            return _signed_samples(dataset) if by_signature else self._inputs.cut(dataset)
        if isinstance(dataset, np.ndarray) and dataset.dtype != object:
            return self._inputs.cut_positions([dataset])
        opened = dataset() if callable(dataset) and not isinstance(dataset, Iterable) else dataset
        if isinstance(opened, str | bytes) or not isinstance(opened, Iterable):
            raise InputError(f"expected an iterable of samples, found {type(opened).__name__}")
        return opened


def _signed_samples(dataset: Mapping[str, Iterable[Any]]) -> Iterator[tuple[str, Any]]:
    for key, samples in dataset.items():
        for sample in samples:
            yield key, sample


class _Inputs:
    """The inputs of a model's main subgraph: what they are called, and what fits them."""

    def __init__(self, model: fbs.Model) -> None:
        self._model = model
        graph = model.subgraphs[0]
        self._tensors = [graph.tensors[index] for index in graph.inputs]
        keys = tensor_keys(graph)
        self._keys = [keys[index] for index in graph.inputs]
        self._slots = {index: slot for slot, index in enumerate(graph.inputs)}
        numbered = {f"{index}:{tensor.name}": slot for slot, (index, tensor) in enumerate(self._with_index())}
        self._names = self._signed() | numbered | {key: slot for slot, key in enumerate(self._keys)}

    def _with_index(self) -> list[tuple[int, fbs.Tensor]]:
        return list(zip(self._model.subgraphs[0].inputs, self._tensors, strict=True))

    def _signed(self) -> dict[str, int]:
        """Return the names of the signatures' inputs that mean the same in all of them."""
        found: dict[str, set[int]] = {}
        for signature in self._model.signatures:
            for name, index in signature.inputs if signature.subgraph_index == 0 else ():
                found.setdefault(name, set()).add(index)
        return {
            name: self._slots[next(iter(indices))]
            for name, indices in found.items()
            if len(indices) == 1 and indices <= self._slots.keys()
        }

    def are_signatures(self, dataset: Mapping[str, Any]) -> bool:
        """Whether the keys of a dict are those of signatures and not names of inputs."""
        keys = set(dataset)
        return bool(keys) and keys <= {signature.key for signature in self._model.signatures} - self._names.keys()

    def in_order(self, sample: Any) -> list[Any]:
        """Return a sample's arrays in input order."""
        if isinstance(sample, Mapping):
            return self._by_name(sample, self._names)
        if isinstance(sample, tuple | list):
            if len(sample) == 2 and isinstance(sample[0], str):
                return self._by_signature(*sample)
            if len(sample) != len(self._tensors):
                raise InputError(f"expected {len(self._tensors)} arrays ({self._listed}), found {len(sample)}")
            return list(sample)
        if len(self._tensors) != 1:
            raise InputError(f"expected a list or a dict of {len(self._tensors)} arrays ({self._listed}), found one")
        return [sample]

    def _by_signature(self, key: str, arrays: Any) -> list[Any]:
        signatures = {signature.key: signature for signature in self._model.signatures}
        if key not in signatures or signatures[key].subgraph_index != 0:
            known = [name for name, signature in signatures.items() if signature.subgraph_index == 0]
            raise InputError(f"expected a signature of the main subgraph, one of {known}, found {key!r}")
        if not isinstance(arrays, Mapping):
            raise InputError(f"expected a dict of arrays behind the signature {key!r}, found {type(arrays).__name__}")
        slots = {name: self._slots[index] for name, index in signatures[key].inputs if index in self._slots}
        return self._by_name(arrays, slots)

    def _by_name(self, arrays: Mapping[Any, Any], slots: Mapping[str, int]) -> list[Any]:
        unknown = [name for name in arrays if name not in slots]
        if unknown:
            raise InputError(f"expected inputs named {self._listed}, found {unknown[0]!r}")
        given = {slots[name]: array for name, array in arrays.items()}
        missing = [key for slot, key in enumerate(self._keys) if slot not in given]
        if missing:
            raise InputError(f"expected an array for each input ({self._listed}), found none for {missing[0]!r}")
        return [given[slot] for slot in range(len(self._keys))]

    @property
    def _listed(self) -> str:
        return ", ".join(repr(key) for key in self._keys)

    def checked(self, slot: int, value: Any) -> Array:
        """Return the array for an input; float64 is rounded to float32."""
        tensor, key = self._tensors[slot], self._keys[slot]
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"input {key!r}: expected an array, found {type(value).__name__}: {error}") from None
        array = self._typed(tensor, key, array)
        known_rank = bool(tensor.shape) or tensor.has_rank
        if (known_rank and array.ndim != len(tensor.shape)) or array.size == 0:
            wanted = list(tensor.shape_signature or tensor.shape)
            raise InputError(f"input {key!r}: expected shape {wanted}, found {list(array.shape)}")
        return array

    @staticmethod
    def _typed(tensor: fbs.Tensor, key: str, array: Array) -> Array:
        wanted = tensor.dtype.storage
        if np.issubdtype(array.dtype, np.floating) and np.issubdtype(wanted, np.floating):
            if not np.isfinite(array).all():
                found = array[~np.isfinite(array)].flat[0]
                raise InputError(f"input {key!r}: expected finite numbers, found {found}")
            with np.errstate(over="raise"):
                try:
                    return array.astype(wanted, copy=False)
                except FloatingPointError:
                    raise InputError(f"input {key!r}: expected numbers within {wanted}, found larger ones") from None
        if array.dtype == wanted:
            return array
        fits = np.issubdtype(array.dtype, np.integer) and tensor.dtype.is_integer
        if fits and (array.size == 0 or (tensor.dtype.min <= array.min() and array.max() <= tensor.dtype.max)):
            return array.astype(wanted)
        raise InputError(f"input {key!r}: expected {wanted}, found {array.dtype}")

    def check_size(self, slot: int, shape: tuple[int, ...], first: tuple[int, ...]) -> None:
        """Check a sample's shape against the first one's."""
        tensor = self._tensors[slot]
        signature = tensor.shape_signature or first
        opened = [size == -1 for size in signature] if len(signature) == len(first) else [True] * len(first)
        if len(shape) != len(first) or any(
            a != b and not open_ for a, b, open_ in zip(shape, first, opened, strict=True)
        ):
            raise InputError(
                f"input {self._keys[slot]!r}: expected shape {list(first)} as in the first sample, found {list(shape)}"
            )

    def cut(self, arrays: Mapping[str, Any]) -> list[list[Array]]:
        """Cut whole arrays, by name or by position, into samples."""
        for start in _POSITIONAL:
            positions = [f"{start}{slot}" for slot in range(len(self._keys))]
            if set(arrays) == set(positions) and not set(arrays) <= set(self._names):
                return self.cut_positions([arrays[name] for name in positions])
        return self.cut_positions(self._by_name(arrays, self._names))

    def cut_positions(self, arrays: Sequence[Any]) -> list[list[Array]]:
        """Cut whole arrays in input order into samples along axis 0."""
        if len(arrays) != len(self._keys):
            raise InputError(f"expected {len(self._keys)} arrays ({self._listed}), found {len(arrays)}")
        columns = [self._column(slot, np.asarray(array)) for slot, array in enumerate(arrays)]
        counts = {len(column) for column in columns}
        if len(counts) > 1:
            raise InputError(f"expected the same number of samples for every input, found {sorted(counts)}")
        return [list(row) for row in zip(*columns, strict=True)]

    def _column(self, slot: int, array: Array) -> list[Array]:
        """Return the samples of one input: along a first axis of their own, or along a first dimension that is 1."""
        shape = self._tensors[slot].shape
        if array.ndim == len(shape) + 1:
            return list(array)
        batch = (self._tensors[slot].shape_signature or shape)[:1]
        if array.ndim == len(shape) and batch in {(1,), (-1,)}:
            return [array[number : number + 1] for number in range(len(array))]
        if array.ndim == len(shape):
            return [array]
        wanted = ["samples", *shape]
        raise InputError(f"input {self._keys[slot]!r}: expected shape {wanted}, found {list(array.shape)}")
