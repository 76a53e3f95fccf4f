"""Statistics: which real values the activations of a float model take, as a file of their own.

Calibration makes them, quantization reads them; in between they can be saved, merged from shards, or come from another
tool (:mod:`quantref.quantizer.statistics_import`). float32 values survive every step bit for bit.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

import fbs
from fbs.files import replacing
from qmath.errors import InputError, QuantrefError
from qmath.types import DType, Float64Array
from quantref.names import tensor_keys
from quantref.quantizer.tables import html_page, text_table

#: Observer whose statistics can be merged from shards: the smallest and the largest value seen.
MIN_MAX = "min-max"
_FORMAT = "quantref statistics"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Range:
    """The real values of a tensor lie between these.

    Attributes
    ----------
    min, max
        float32, finite, ``min <= max``. The range need not include 0; quantization sees to that.

    Raises
    ------
    InputError
        A bound is NaN or infinite, or the minimum exceeds the maximum.

    """

    min: np.float32
    max: np.float32

    def __post_init__(self) -> None:
        """Round the bounds to float32 and check them."""
        low, high = (_as_float32(bound) for bound in (self.min, self.max))
        if not (np.isfinite(low) and np.isfinite(high) and low <= high):
            raise InputError(f"expected a finite range, minimum to maximum, found {self.min} to {self.max}")
        object.__setattr__(self, "min", low)
        object.__setattr__(self, "max", high)

    def union(self, other: Range) -> Range:
        """Return the range that covers both."""
        return Range(min(self.min, other.min), max(self.max, other.max))


#: Columns of the table of ranges.
HEAD = ("tensor", "min", "max")


@dataclass(frozen=True)
class Statistics:
    """The ranges of a model's float activations, and where they come from.

    Attributes
    ----------
    ranges
        By tensor of the main subgraph: its name, or ``index:name`` where the name is empty or repeats
        (:func:`quantref.names.tensor_keys`).
    samples
        How many samples were seen; 0 if that is not known.
    observer
        What made a range out of the values seen, for example ``"min-max"``.
    model_digest
        :func:`model_digest` of the model that was run, or empty if that is not known.
    means
        By tensor, of those that weights are multiplied with: the mean of each channel, in float64. Empty if they were
        not taken.

    """

    ranges: Mapping[str, Range]
    samples: int = 0
    observer: str = MIN_MAX
    model_digest: str = ""
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Freeze the mappings and check the means.

        Raises
        ------
        InputError
            A mean is not finite.

        """
        object.__setattr__(self, "ranges", MappingProxyType(dict(self.ranges)))
        means = {key: tuple(map(float, found)) for key, found in self.means.items()}
        object.__setattr__(self, "means", MappingProxyType(means))
        for key, found in means.items():
            if not np.all(np.isfinite(found)):
                raise InputError(f"expected finite means of tensor {key!r}, found others")

    @property
    def headline(self) -> str:
        """How many ranges, and of what."""
        count, samples = len(self.ranges), self.samples
        return f"{count} ranges by {self.observer} over {samples} sample{'s' * (samples != 1)}"

    def rows(self) -> list[tuple[str, str, str]]:
        """Return tensor, minimum and maximum of every range, in words."""
        return [(name, f"{bounds.min:.6g}", f"{bounds.max:.6g}") for name, bounds in self.ranges.items()]

    def summary(self) -> str:
        """Return the ranges as a table of text."""
        return "\n".join([self.headline, text_table(HEAD, self.rows())])

    def _repr_html_(self) -> str:
        """Return the ranges as a table for notebooks."""
        return html_page([self.headline], HEAD, self.rows())

    def of(self, model: fbs.Model) -> dict[int, Range]:
        """Return the ranges by tensor index of a model's main subgraph.

        Raises
        ------
        InputError
            The statistics were made from another model, or name a tensor that this one does not have.

        """
        indices = self._indices(model)
        return {indices[key]: bounds for key, bounds in self.ranges.items()}

    def means_of(self, model: fbs.Model) -> dict[int, Float64Array]:
        """Return the means by tensor index of a model's main subgraph; raises what :meth:`of` raises."""
        indices = self._indices(model)
        return {indices[key]: np.array(means, np.float64) for key, means in self.means.items()}

    def _indices(self, model: fbs.Model) -> dict[str, int]:
        """Return the index of each tensor of the model these statistics are of."""
        if self.model_digest and self.model_digest != model_digest(model):
            raise InputError("expected statistics of this model, found those of another one (the digests differ)")
        indices = {key: index for index, key in enumerate(tensor_keys(model.subgraphs[0]))}
        unknown = [key for key in (*self.ranges, *self.means) if key not in indices]
        if unknown:
            raise InputError(
                f"expected statistics of this model's tensors, found {unknown[0]!r}, which it does not have"
            )
        return indices

    def merge(self, *others: Statistics) -> Statistics:
        """Return what one run over all the shards' samples would have found; means up to their last bits.

        Raises
        ------
        InputError
            The observer is not min-max, or the shards are of different models.

        """
        return functools.reduce(_merged, others, self)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; each bound is the float64 that equals it."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "observer": self.observer,
            "samples": self.samples,
            "model_digest": self.model_digest,
            "ranges": {key: [float(bounds.min), float(bounds.max)] for key, bounds in self.ranges.items()},
            **({"means": {key: list(means) for key, means in self.means.items()}} if self.means else {}),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Statistics:
        """Return statistics from what :meth:`to_json` gave.

        Raises
        ------
        InputError
            The values are something else.

        """
        if not isinstance(values, Mapping) or values.get("format") != _FORMAT or values.get("version") != _VERSION:
            raise InputError(f"expected statistics of version {_VERSION}, found something else")
        try:
            ranges = {str(key): Range(*bounds) for key, bounds in values["ranges"].items()}
            samples, observer, digest = int(values["samples"]), str(values["observer"]), str(values["model_digest"])
            means = {str(key): tuple(map(float, found)) for key, found in values.get("means", {}).items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"expected statistics, found damaged ones: {error}") from error
        return cls(ranges, samples, observer, digest, means)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, which appears whole or not at all.

        Raises
        ------
        InputError
            The file cannot be written.

        """
        try:
            with replacing(path) as draft:
                draft.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: expected a file that can be written, found: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Statistics:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            There is no such file, or it holds something else.

        """
        try:
            return cls.from_json(read_json(path))
        except QuantrefError as error:
            raise error.within(str(path)) from None


def model_digest(model: fbs.Model) -> str:
    """Return a SHA-256 of what a model's main subgraph computes: ops, options, tensors, values of constants.

    Names of signatures, metadata and the layout of the file make no difference.
    """
    subgraph = model.subgraphs[0]
    digest = hashlib.sha256()
    for tensor in subgraph.tensors:
        digest.update(repr((tensor.name, tensor.dtype.name, tensor.shape)).encode())
        if tensor.is_constant and tensor.buffer.data is not None:
            digest.update(tensor.buffer.data.tobytes())
    for operator in subgraph.operators:
        options = sorted((operator.options or operator.options_2 or {}).items())
        digest.update(repr((operator.name, operator.inputs, operator.outputs, options)).encode())
    digest.update(repr((subgraph.inputs, subgraph.outputs)).encode())
    return digest.hexdigest()


def observed_tensors(subgraph: fbs.Subgraph) -> list[int]:
    """Return the tensors that have statistics: float32, neither constant nor empty."""
    return [
        index
        for index, tensor in enumerate(subgraph.tensors)
        if tensor.dtype is DType.FLOAT32 and not tensor.is_constant and 0 not in tensor.shape
    ]


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        There is no such file, or it is not JSON.

    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"expected a readable file, found: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON, found: {error}") from error


def _as_float32(bound: object) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(bound)  # type: ignore[arg-type]  # anything that is a number


def _merged(one: Statistics, other: Statistics) -> Statistics:
    for statistics in (one, other):
        if statistics.observer != MIN_MAX:
            raise InputError(f"expected shards of the observer {MIN_MAX!r}, found {statistics.observer!r}")
    digests = {statistics.model_digest for statistics in (one, other) if statistics.model_digest}
    if len(digests) > 1:
        raise InputError("expected shards of the same model, found different digests")
    ranges: dict[str, Iterable[Range]] = {key: [bounds] for key, bounds in one.ranges.items()}
    for key, bounds in other.ranges.items():
        ranges[key] = [*ranges.get(key, ()), bounds]
    merged = {key: functools.reduce(Range.union, found) for key, found in ranges.items()}
    return Statistics(
        merged, one.samples + other.samples, one.observer, next(iter(digests), ""), _merged_means(one, other)
    )


def _merged_means(one: Statistics, other: Statistics) -> dict[str, tuple[float, ...]]:
    """Return the means of both shards' samples, of the tensors that both have means of."""
    samples = one.samples + other.samples
    return {
        key: tuple(
            (a * one.samples + b * other.samples) / samples for a, b in zip(means, other.means[key], strict=True)
        )
        for key, means in one.means.items()
        if samples and len(other.means.get(key, ())) == len(means)
    }
