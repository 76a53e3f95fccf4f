"""How a kernel sees an op, and what preparing an op gives.

``fbs``'s dataclasses satisfy :class:`OpView` and :class:`TensorView` structurally, so kernels and files do
not import each other and nothing is copied.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from qmath.errors import ModelError
from qmath.stages import Note, silent
from qmath.types import Array, DType, QuantParams

if TYPE_CHECKING:
    from kernels.engine.taps import Products
    from qmath.requantize import Requantize

#: What an op reads: one array an input slot, ``None`` where an optional input is absent.
Inputs: TypeAlias = Sequence[Array | None]
#: What an op gives: its outputs in order, then the new value of each variable tensor it updates.
Outputs: TypeAlias = tuple[Array, ...]
#: The fast form of a prepared op.
Runner: TypeAlias = Callable[[Inputs], Outputs]


class DimensionView(Protocol):
    """How one dimension of a sparse constant is stored."""

    @property
    def format(self) -> int:
        """0: dense, 1: sparse."""

    @property
    def dense_size(self) -> int:
        """Size of a dense dimension."""


class SparsityView(Protocol):
    """How a sparse constant is stored."""

    @property
    def traversal_order(self) -> tuple[int, ...] | None:
        """Order of the dimensions, those of blocks last."""

    @property
    def block_map(self) -> tuple[int, ...] | None:
        """Dimension that each block dimension divides."""

    @property
    def dim_metadata(self) -> Sequence[DimensionView] | None:
        """One entry a dimension, in traversal order."""


class TensorView(Protocol):
    """A tensor as an op sees it."""

    @property
    def name(self) -> str:
        """Name in the file; may be empty or repeated."""

    @property
    def dtype(self) -> DType:
        """Element type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape at the time the op is prepared."""

    @property
    def quant(self) -> QuantParams | None:
        """Quantization parameters, or None."""

    @property
    def data(self) -> Array | None:
        """Value of a constant (sub-byte types unpacked, one element a byte), or None for an activation."""

    @property
    def sparsity(self) -> SparsityView | None:
        """How a sparse constant is stored, or None. Its ``data`` is dense all the same."""

    @property
    def is_variable(self) -> bool:
        """Whether the tensor keeps its value between invocations."""


class OpView(Protocol):
    """One operator of a model."""

    @property
    def name(self) -> str:
        """Builtin operator in the schema's spelling (``"CONV_2D"``), or the code of a custom op."""

    @property
    def version(self) -> int:
        """Version of the operator."""

    @property
    def inputs(self) -> Sequence[TensorView | None]:
        """Inputs in the order of the schema; None where an optional one is absent."""

    @property
    def outputs(self) -> Sequence[TensorView]:
        """Outputs in the order of the schema. Their shapes are the file's and may be stale."""

    @property
    def intermediates(self) -> Sequence[TensorView]:
        """Tensors that only carry quantization parameters (LSTM)."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Builtin options by the schema's field names (``stride_h``), defaults filled in, enums as integers."""

    @property
    def custom_options(self) -> bytes:
        """Options of a custom op, as they lie in the file."""


class Prepared(abc.ABC):
    """A prepared op: a frozen dataclass that knows its literal definition and may know a faster, equal form.

    Attributes
    ----------
    updates
        Input slots whose variable tensors the op updates; their new values follow the outputs.
    runs_once
        Whether the runtime runs the op in the first invocation alone if all its inputs are constants.

    """

    updates: tuple[int, ...] = ()
    runs_once: bool = False

    @abc.abstractmethod
    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Compute the op by its literal definition, naming its stages to ``note``."""

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products | None:
        """Return which products make one element of the first output, or None if the op does not sum products."""
        del inputs, index
        return None

    def requantizations(self, inputs: Inputs) -> Mapping[str, Requantize]:
        """Return requantizations that are made for the shapes and constants at hand, by name; others are fields."""
        del inputs
        return {}

    def in_any_order(self) -> Prepared:
        """Return the op with leave to add products of floats in any order, which is faster and changes last bits."""
        return self

    def compile(self, constants: Inputs) -> Runner:
        """Return a faster form that equals :meth:`evaluate` on every input.

        Parameters
        ----------
        constants
            One entry an input slot: the array of a constant, or None for an activation.

        """
        del constants
        return lambda inputs: self.evaluate(inputs, silent)


def given(inputs: Inputs, slot: int) -> Array:
    """Return the array in an input slot that must be there.

    Raises
    ------
    ModelError
        The slot is empty.

    """
    array = inputs[slot] if slot < len(inputs) else None
    if array is None:
        raise ModelError(f"expected a tensor as input {slot}, found none")
    return array
