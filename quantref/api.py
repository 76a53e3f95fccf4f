"""The functions that need no interpreter object."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

import fbs
from kernels.profiles import LITERT_REFERENCE, Profile
from qmath.types import Array
from quantref.interpreter import Interpreter, ModelSource
from quantref.names import tensor_keys
from quantref.samples import input_numbers
from quantref.signatures import named_inputs


def run(
    model: ModelSource, inputs: Mapping[str, npt.ArrayLike], profile: str | Profile = LITERT_REFERENCE
) -> dict[str, Array]:
    """Run a model once.

    Parameters
    ----------
    model
        A path, the bytes of a file, or a model.
    inputs
        An array for each input by its tensor's name (``"index:name"`` where names repeat, or its name in a signature);
        other sizes than the model's are fine where its ops take them.
    profile
        Which runtime's arithmetic.

    Returns
    -------
    An array for each output by name.

    Raises
    ------
    InputError
        Names, types or shapes do not fit.
    ModelError, UnsupportedError
        The model is damaged, or not covered under the profile.

    """
    interpreter = prepared_interpreter(model, inputs, profile)
    interpreter.invoke()
    subgraph = interpreter.graph.subgraph
    keys = tensor_keys(subgraph)
    return {keys[index]: interpreter.get_tensor(index) for index in subgraph.outputs}


def prepared_interpreter(
    model: ModelSource, inputs: Mapping[str, npt.ArrayLike], profile: str | Profile
) -> Interpreter:
    """Return an interpreter that has its inputs, of whatever size they are, and only needs to be invoked.

    Raises
    ------
    InputError
        Names, types or shapes do not fit.
    ModelError, UnsupportedError
        The model is damaged, or not covered under the profile.

    """
    interpreter = Interpreter(model, profile)
    subgraph = interpreter.graph.subgraph
    by_index = named_inputs(_names(interpreter.model, inputs), subgraph, inputs)
    for index, array in by_index.items():
        if array.shape != subgraph.tensors[index].shape:
            interpreter.resize_tensor_input(index, array.shape)
    interpreter.allocate_tensors()
    for index, array in by_index.items():
        interpreter.set_tensor(index, np.asarray(array))
    return interpreter


def _names(model: fbs.Model, given: Mapping[str, npt.ArrayLike]) -> dict[str, int]:
    """Return the names of the inputs: those that are used, if each means another input; otherwise the tensors'."""
    subgraph = model.subgraphs[0]
    keys, known = tensor_keys(subgraph), input_numbers(model)
    used = {key: known[key] for key in given if key in known} if isinstance(given, Mapping) else {}
    whole = sorted(used.values()) == sorted(set(subgraph.inputs)) and len(used) == len(given)
    return used if whole else {keys[index]: index for index in subgraph.inputs}
