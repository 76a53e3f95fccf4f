"""Shapes that tensors will have, for those who ask before the model has run."""

from __future__ import annotations

from contextlib import suppress

import fbs
from qmath.errors import QuantrefError
from quantref.blas_threads import one_blas_thread
from quantref.execution import Graph, Session


def leaves_shapes_open(subgraph: fbs.Subgraph) -> bool:
    """Whether the file may not say the shape of something computed: an open one is written as that of a scalar."""
    return any(not subgraph.tensors[index].shape for op in subgraph.operators for index in op.outputs if index >= 0)


def shapes_to_come(graph: Graph) -> list[tuple[int, ...]]:
    """Return the shapes that the tensors of the main subgraph will have when it runs on the inputs it has.

    It takes a run apart from everything: ops tell the shapes of their outputs by computing them. Tensors behind an op
    that cannot run keep the file's.
    """
    trial = Session(graph.session.model, graph.session.profile, searches=False).graph(0)
    trial.load_constants()
    for index in trial.subgraph.inputs:
        trial.assign(index, graph.value(index))
    with suppress(QuantrefError), one_blas_thread():
        trial.run_steps()
    return [trial.shape(index) for index in range(len(trial.subgraph.tensors))]
