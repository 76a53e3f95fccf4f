"""Models written by hand: for tests, golden vectors and lessons.

>>> b = Builder()
>>> x = b.input("x", DType.INT8, (1, 4), scale=0.5, zero_point=-1)
>>> w = b.constant("w", np.ones((3, 4), np.int8), scale=[0.1, 0.2, 0.3])
>>> y = b.tensor("y", DType.INT8, (1, 3), scale=0.25)
>>> b.op("FULLY_CONNECTED", [x, w, None], [y], version=4)
>>> model = b.finish(outputs=[y])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fbs import constants, schema
from fbs import options as options_module
from fbs.exact import numbers
from fbs.model import (
    Buffer,
    Metadata,
    Model,
    Operator,
    OperatorCode,
    Quantization,
    Signature,
    Subgraph,
    Tensor,
)
from fbs.options import Options
from qmath.errors import InputError
from qmath.types import DType


class SubgraphBuilder:
    """Collects the tensors and operators of one subgraph. Tensors go by their index, as in the file.

    Every method that adds a tensor takes ``scale`` and ``zero_point`` (numbers, or one entry an index along
    ``quantized_dimension``), or a whole ``quantization`` instead.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []
        self._inputs: list[int] = []
        self._outputs: list[int] = []

    def tensor(
        self,
        name: str,
        dtype: DType,
        shape: Sequence[int],
        *,
        scale: npt.ArrayLike | None = None,
        zero_point: npt.ArrayLike = 0,
        quantized_dimension: int = 0,
        quantization: Quantization | None = None,
        **fields: Any,
    ) -> int:
        """Add an activation and return its index; ``fields`` are further fields of :class:`fbs.Tensor`.

        Raises
        ------
        InputError
            Shape, scales or zero points are no numbers, or no vector of them.

        """
        if scale is not None:
            scales, zero_points = (numbers(scale, np.float32, "scale"), numbers(zero_point, np.int64, "zero_point"))
            if zero_points.size == 1:
                zero_points = np.broadcast_to(zero_points, scales.shape)
            quantization = Quantization(scale=scales, zero_point=zero_points, quantized_dimension=quantized_dimension)
        shape = tuple(numbers(shape, np.int64, "shape").tolist())
        fields = {"has_rank": True, **fields}
        self._tensors.append(Tensor(name, dtype, shape, quantization=quantization, **fields))
        return len(self._tensors) - 1

    def input(self, name: str, dtype: DType, shape: Sequence[int], **fields: Any) -> int:
        """Add an input of the subgraph and return its index; further arguments as for :meth:`tensor`."""
        index = self.tensor(name, dtype, shape, **fields)
        self._inputs.append(index)
        return index

    def variable(self, name: str, dtype: DType, shape: Sequence[int], **fields: Any) -> int:
        """Add a variable tensor, which keeps its value between invocations, and return its index."""
        return self.tensor(name, dtype, shape, is_variable=True, **fields)

    def constant(self, name: str, values: npt.ArrayLike, dtype: DType | None = None, **fields: Any) -> int:
        """Add a constant and return its index.

        Parameters
        ----------
        name
            Name of the tensor.
        values
            Its elements; for types narrower than a byte one element a byte, bfloat16 as uint16.
        dtype
            Element type; by default that of the array.
        fields
            Further arguments as for :meth:`tensor`, and ``shape`` where it is not the array's.

        Raises
        ------
        InputError
            A value does not fit the type, or no tensor type is like the array's.

        """
        array = constants.as_array(values)
        if dtype is None:
            dtype = _dtype_like(array)
        shape = fields.pop("shape", array.shape)
        return self.tensor(name, dtype, shape, buffer=Buffer.of(array, dtype), **fields)

    def op(
        self,
        name: str,
        inputs: Sequence[int | None],
        outputs: Sequence[int],
        *,
        version: int = 1,
        intermediates: Sequence[int] = (),
        mutating_variable_inputs: Sequence[bool] = (),
        options: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Operator:
        """Add a builtin operator.

        Parameters
        ----------
        name
            In the schema's spelling, for example ``"CONV_2D"``.
        inputs, outputs, intermediates
            Tensors; None for an absent optional input.
        version
            Version of the operator.
        mutating_variable_inputs
            For each input whether the op updates it.
        options, fields
            Options by the schema's field names, as a mapping or as keywords; the rest takes its default.
            The table of options is always written if the op has one.

        Raises
        ------
        InputError
            The schema has no such operator, or the operator no such option.

        """
        given = {**(options or {}), **fields}
        first, second = _both_options(name, given)
        operator = Operator(
            code=OperatorCode(name, version),
            inputs=_indices(inputs),
            outputs=tuple(outputs),
            options=first,
            options_2=second,
            intermediates=tuple(intermediates),
            mutating_variable_inputs=tuple(mutating_variable_inputs),
        )
        self._operators.append(operator)
        return operator

    def custom(
        self,
        custom_code: str,
        inputs: Sequence[int | None],
        outputs: Sequence[int],
        custom_options: bytes | None = None,
        *,
        version: int = 1,
    ) -> Operator:
        """Add a custom operator."""
        code = OperatorCode("CUSTOM", version, custom_code)
        operator = Operator(code, _indices(inputs), tuple(outputs), custom_options=custom_options)
        self._operators.append(operator)
        return operator

    def outputs(self, *tensors: int) -> None:
        """Say which tensors the subgraph gives."""
        self._outputs = list(tensors)

    def build(self) -> Subgraph:
        """Return the subgraph as it stands."""
        return Subgraph(
            tensors=tuple(self._tensors),
            operators=tuple(self._operators),
            inputs=tuple(self._inputs),
            outputs=tuple(self._outputs),
            name=self.name,
        )


class Builder(SubgraphBuilder):
    """Collects a model: the main subgraph by its own methods, others by :meth:`subgraph`."""

    def __init__(self, name: str = "main", *, description: str = "") -> None:
        super().__init__(name)
        self._description = description
        self._subgraphs: list[SubgraphBuilder] = [self]
        self._signatures: list[Signature] = []
        self._metadata: list[Metadata] = []

    def subgraph(self, name: str = "") -> tuple[int, SubgraphBuilder]:
        """Add a subgraph; return its index, by which operators call it, and its builder."""
        self._subgraphs.append(SubgraphBuilder(name))
        return len(self._subgraphs) - 1, self._subgraphs[-1]

    def signature(
        self, key: str, inputs: Mapping[str, int], outputs: Mapping[str, int], *, subgraph_index: int = 0
    ) -> None:
        """Add a named way to call a subgraph, with names for its inputs and outputs."""
        self._signatures.append(Signature(key, tuple(inputs.items()), tuple(outputs.items()), subgraph_index))

    def metadata(self, name: str, data: bytes) -> None:
        """Add named bytes."""
        self._metadata.append(Metadata(name, Buffer(np.frombuffer(data, np.uint8))))

    def finish(self, outputs: Sequence[int] | None = None) -> Model:
        """Return the model, with these outputs of the main subgraph."""
        if outputs is not None:
            self.outputs(*outputs)
        subgraphs = tuple(builder.build() for builder in self._subgraphs)
        model = Model(
            subgraphs=subgraphs,
            metadata=tuple(self._metadata),
            signatures=tuple(self._signatures),
            description=self._description,
        )
        return model.pruned()


def _indices(tensors: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(-1 if index is None else index for index in tensors)


def _both_options(operator: str, given: Mapping[str, Any]) -> tuple[Options | None, Options | None]:
    """Return an operator's options in the union where they belong."""
    if operator not in schema.numbers("BuiltinOperator"):
        msg = f"expected a builtin operator of the schema of tflite {schema.version()}, found {operator!r}"
        raise InputError(msg)
    table = options_module.table_of(operator)
    if table is None:
        if given:
            msg = f"{operator}: expected no options, found {', '.join(given)}"
            raise InputError(msg)
        return None, None
    options = Options(table, given)
    return (None, options) if options_module.in_second_union(table) else (options, None)


def _dtype_like(array: npt.NDArray[Any]) -> DType:
    """Return the tensor type that NumPy has a type of its own for."""
    name = {"bool": "BOOL"}.get(array.dtype.name, array.dtype.name.upper())
    try:
        return DType[name]
    except KeyError:
        msg = f"expected an array of a tensor type, found {array.dtype.name}; give dtype"
        raise InputError(msg) from None
