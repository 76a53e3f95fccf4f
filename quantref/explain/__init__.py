"""One element of a tensor, and every step that made it: in symbols, in numbers, in bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy.typing as npt

from kernels.profiles import LITERT_REFERENCE, Profile
from quantref.api import prepared_interpreter
from quantref.explain.document import Explanation
from quantref.explain.float_model import float_value
from quantref.explain.one_op import evaluate, explain_element, tensor_number
from quantref.interpreter import ModelSource

__all__ = ["Explanation", "explain"]


def explain(
    model: ModelSource,
    inputs: Mapping[str, npt.ArrayLike],
    *,
    tensor: str | int,
    index: Sequence[int],
    profile: str | Profile = LITERT_REFERENCE,
    float_model: ModelSource | None = None,
) -> Explanation:
    """Explain one element of a tensor that an op of the model computes.

    Parameters
    ----------
    model
        A path, the bytes of a file, or a model.
    inputs
        An array for each input by its tensor's name (``"index:name"`` where names repeat).
    tensor, index
        The tensor by name or number, and which of its elements.
    profile
        Which runtime's arithmetic.
    float_model
        A model whose tensors have the same names and hold real numbers: its value of the element is shown beside.

    Raises
    ------
    InputError
        No such tensor or element, no op computes it, or the inputs do not fit.
    ModelError, UnsupportedError
        The model is damaged, or not covered under the profile.

    """
    interpreter = prepared_interpreter(model, inputs, profile)
    number = tensor_number(interpreter.graph.subgraph, tensor)
    with interpreter.in_file():
        explanation = explain_element(evaluate(interpreter.graph, number), number, index)
    if float_model is None:
        return explanation
    return explanation.with_float(float_value(float_model, interpreter.graph, explanation.output))
