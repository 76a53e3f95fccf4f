"""An operator with its tensors looked up: what a kernel wants to see of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fbs.model import Operator, Subgraph, Tensor
from fbs.options import defaults_of
from qmath.errors import ModelError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class OpView:
    """One operator of a subgraph; it satisfies the kernels' protocol of the same name.

    Attributes
    ----------
    name, version
        Builtin operator or custom code, and its version.
    inputs, outputs, intermediates
        The tensors; None where an optional input is absent.
    options
        Builtin options; the schema's defaults where the file has none, empty for ops without options.
    custom_options
        Options of a custom op; empty if there are none.
    operator
        The operator itself.

    """

    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    intermediates: tuple[Tensor, ...]
    options: Mapping[str, Any]
    custom_options: bytes
    operator: Operator


def view(subgraph: Subgraph, operator: Operator | int, shapes: Mapping[int, Sequence[int]] | None = None) -> OpView:
    """Look up an operator's tensors.

    Parameters
    ----------
    subgraph
        Where the tensors are.
    operator
        An operator of the subgraph, or its index.
    shapes
        Shapes at run time, by tensor index, where they differ from the file's.

    Raises
    ------
    ModelError
        There is no such operator or tensor.

    """
    op = _at(subgraph.operators, operator, "operator") if isinstance(operator, int) else operator
    actual = shapes or {}

    found: dict[int, Tensor] = {}

    def tensor(index: int) -> Tensor:
        # One object a tensor: a kernel may ask whether two inputs are the same.
        if index not in found:
            stored = _at(subgraph.tensors, index, "tensor")
            shape = tuple(actual.get(index, stored.shape))
            found[index] = stored if shape == stored.shape else dataclasses.replace(stored, shape=shape)
        return found[index]

    return OpView(
        name=op.name,
        version=op.version,
        inputs=tuple(None if index == -1 else tensor(index) for index in op.inputs),
        outputs=tuple(tensor(index) for index in op.outputs),
        intermediates=tuple(tensor(index) for index in op.intermediates if index != -1),
        options=_options(op),
        custom_options=op.custom_options or b"",
        operator=op,
    )


def _options(operator: Operator) -> Mapping[str, Any]:
    for options in (operator.options, operator.options_2):
        if options is not None:
            return options
    return defaults_of(operator.code.builtin)


def _at(items: Sequence[_T], index: int, what: str) -> _T:
    if not 0 <= index < len(items):
        msg = f"expected the index of one of {len(items)} {what}s, found {index}"
        raise ModelError(msg)
    return items[index]
