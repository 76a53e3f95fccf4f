"""The outcome of every style: in which form each value is present where.

Deciding and rewriting are kept apart. A style decides on a :class:`Layout`; :mod:`quantref.quantizer.rewrite` turns it
into a graph, with a QUANTIZE or DEQUANTIZE wherever a value is wanted in another form than the one it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import fbs
from qmath.types import Array, DType
from quantref.quantizer.graph import Use
from quantref.quantizer.params import Params
from quantref.quantizer.versions import schema_version

#: Gives an operator its version, from its tensors and options.
Versioner = Callable[[fbs.OpView], int]


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """One form in which a value is present. Forms are told apart by identity: two equal ones are two tensors.

    Attributes
    ----------
    tensor
        The value: a tensor of the float model.
    dtype
        Of this form.
    params
        What its codes stand for; None for floating point.
    source
        The form it is converted from, by QUANTIZE or DEQUANTIZE; None for the form that the value's producer (or the
        file, or the caller) gives.
    values
        Elements of a constant in this form, if ``source`` is None.

    """

    tensor: int
    dtype: DType = DType.FLOAT32
    params: Params | None = None
    source: Form | None = None
    values: Array | None = None

    def quantized(self, params: Params) -> Form:
        """Return a form that a QUANTIZE makes of this one."""
        return Form(self.tensor, params.dtype, params, self)

    def dequantized(self) -> Form:
        """Return the form that a DEQUANTIZE makes of this one."""
        return Form(self.tensor, source=self)

    @property
    def origin(self) -> Form:
        """The form that everything was converted from."""
        return self if self.source is None else self.source.origin


def given_as(tensor: int, params: Params | None) -> Form:
    """Return the form in which a producer gives a value: codes, or float32 without parameters."""
    return Form(tensor) if params is None else Form(tensor, params.dtype, params)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where conversions stand among the operators.

    Attributes
    ----------
    eager
        Right after the value's producer, or else right before the first operator that wants the form.
    inputs_first
        Whether the QUANTIZE of a graph input stands at the front all the same.
    outputs_last
        Whether conversions for the graph's outputs stand at the end; else they follow the value's producer.

    """

    eager: bool = False
    inputs_first: bool = False
    outputs_last: bool = False


@dataclass
class Layout:
    """In which form each value is present where; what is not mentioned stays as it is.

    Attributes
    ----------
    given
        By tensor: the form that its producer, or the caller for an input, gives.
    reads
        By operand: the form that the operator reads.
    outputs
        By position among the graph's outputs: the form that leaves.
    placement
        Where conversions stand.
    options
        By operator: options that change.
    intermediates
        By operator: parameters of its intermediate tensors, None for float ones; added where it has none.
    reasons
        By operator: why it is not quantized as was asked.
    corrected
        Operands that are biases and stand for other values than the float model's, on purpose.
    version
        Gives every operator its version, from its tensors and options.
    shares_versions
        Whether all operators of one name get the highest of their versions, as tools do that keep one operator code
        a name.

    """

    given: dict[int, Form] = field(default_factory=dict)
    reads: dict[Use, Form] = field(default_factory=dict)
    outputs: dict[int, Form] = field(default_factory=dict)
    placement: Placement = field(default_factory=Placement)
    options: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    intermediates: dict[int, tuple[Params | None, ...]] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    corrected: frozenset[Use] = frozenset()
    version: Versioner = schema_version
    shares_versions: bool = False
