"""Run a model on several samples and gather what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qmath.types import Array
from quantref.interpreter import Interpreter
from quantref.names import tensor_keys


def run_samples(
    interpreter: Interpreter,
    samples: Sequence[Sequence[Array]],
    *,
    all_tensors: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Array]:
    """Run a model on each sample in turn; variable tensors keep their values in between.

    Parameters
    ----------
    interpreter
        The model under a profile.
    samples
        Arrays in input order, one list an invocation.
    all_tensors
        Return every tensor of the main subgraph that has elements, not outputs alone.
    progress
        Called with the number of samples done and of all.

    Returns
    -------
    Arrays keyed by tensor name, or ``index:name`` where a name is repeated. The samples of a tensor whose first
    dimension is 1 are joined along it, those of others along a new first axis; constants are there once.

    """
    graph = interpreter.model.subgraphs[0]
    keys = tensor_keys(graph)
    asked = range(len(graph.tensors)) if all_tensors else graph.outputs
    wanted = [index for index in asked if graph.tensors[index].dtype.bits]  # a handle is no array
    gathered: dict[int, list[Array]] = {index: [] for index in wanted}
    interpreter.allocate_tensors()
    for done, sample in enumerate(samples, 1):
        for index, value in zip(graph.inputs, sample, strict=True):
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        for index, values in gathered.items():
            computed = interpreter.graph.values[index] is not None  # some tensors only carry parameters
            if computed and (not values or graph.tensors[index].data is None):
                values.append(interpreter.get_tensor(index))
        if progress is not None:
            progress(done, len(samples))
    return {keys[index]: _joined(values) for index, values in gathered.items() if values}


def _joined(values: list[Array]) -> Array:
    if len(values) == 1:
        return values[0]
    alike = all(value.shape[:1] == (1,) for value in values)
    return np.concatenate(values) if alike else np.stack(values)
