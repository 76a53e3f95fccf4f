"""Running a model by the names of its signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

import fbs
from qmath.errors import InputError, ModelError
from qmath.types import Array
from quantref.blas_threads import one_blas_thread
from quantref.samples import as_array

if TYPE_CHECKING:
    from quantref.interpreter import Interpreter


class SignatureRunner:
    """Runs one signature of a model on named inputs: ``runner(x=array) -> {name: array}``."""

    def __init__(self, interpreter: Interpreter, signature: fbs.Signature) -> None:
        self._interpreter = interpreter
        self._signature = signature
        self._index = signature.subgraph_index
        self._subgraph = interpreter.model.subgraphs[self._index]

    def __call__(self, **inputs: npt.ArrayLike) -> dict[str, Array]:
        """Run the signature on inputs of whatever size; variable tensors start afresh where sizes change.

        Raises
        ------
        InputError
            Names, types or ranks that do not fit.
        ModelError, UnsupportedError
            As for :meth:`Interpreter.invoke`; or the signature leaves out an input of its subgraph.

        """
        arrays = named_inputs(dict(self._signature.inputs), self._subgraph, inputs)
        if self._index == 0:
            self._run_main(arrays)
        else:
            self._run_other(arrays)
        return {name: self._interpreter.get_tensor(index, self._index) for name, index in self._signature.outputs}

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        """Describe the inputs by name."""
        return self._described(self._signature.inputs)

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        """Describe the outputs by name."""
        return self._described(self._signature.outputs)

    def _run_main(self, arrays: Mapping[int, Array]) -> None:
        for index, array in arrays.items():
            self._interpreter.resize_tensor_input(index, array.shape)
        self._interpreter.allocate_tensors()
        for index, array in arrays.items():
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()

    def _run_other(self, arrays: Mapping[int, Array]) -> None:
        with self._interpreter.in_file(), one_blas_thread():
            missing = [self._subgraph.tensors[index].name for index in self._subgraph.inputs if index not in arrays]
            if missing:
                raise ModelError(
                    f"expected signature {self._signature.key!r} to name every input, not found: {missing}"
                )
            graph = self._interpreter.graph.session.graph(self._index)
            graph.run([arrays[index] for index in self._subgraph.inputs])

    def _described(self, names: Sequence[tuple[str, int]]) -> dict[str, dict[str, Any]]:
        details = self._interpreter.get_tensor_details(self._index)
        return {name: details[index] for name, index in sorted(names)}


def named_inputs(
    names: Mapping[str, int], subgraph: fbs.Subgraph, inputs: Mapping[str, npt.ArrayLike]
) -> dict[int, Array]:
    """Check arrays given by name against the tensors they are for, and return them by tensor index.

    Raises
    ------
    InputError
        A name is missing or unknown, or a type or rank does not fit.

    """
    if not isinstance(inputs, Mapping):
        raise InputError(f"expected a dict of arrays by name ({sorted(names)}), found a {type(inputs).__name__}")
    if set(names) != set(inputs):
        raise InputError(f"expected inputs named {sorted(names)}, found {sorted(map(str, inputs))}")
    found: dict[int, Array] = {}
    for name, index in names.items():
        tensor, array = subgraph.tensors[index], as_array(name, inputs[name])
        if array.dtype != tensor.dtype.storage:
            raise InputError(f"expected {tensor.dtype.storage} for input {name!r}, found {array.dtype}")
        if array.ndim != len(tensor.shape):
            raise InputError(f"expected {len(tensor.shape)} dimensions for input {name!r}, found shape {array.shape}")
        found[index] = array
    return found
