"""Find the operator that a runtime refuses, dies of or hangs at."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence

import fbs
from qmath.errors import QuantrefError
from qmath.types import Array
from quantref.runtimes import LiteRT, Runtime, RuntimeCrashed, RuntimeFailure, RuntimeRefused, RuntimeTimedOut
from quantref.samples import random_samples
from quantref.verification import Death, Ending

#: A single op that takes longer, in seconds, is taken to hang.
OP_TIMEOUT = 10.0
#: How often an op is invoked, since a damaged heap may be noticed late.
INVOCATIONS = 4
#: Characters of the runtime's words that a report repeats.
MESSAGE_LENGTH = 400


def examine(
    model: fbs.Model, runtime: Runtime, failure: RuntimeFailure, samples: Sequence[Sequence[Array]], timeout: float
) -> Death:
    """Return what happened to a runtime, and at which op.

    The runtime may have named the op. Otherwise each op runs as a model of its own, in a new process each; then
    ever longer beginnings of the model run on the samples that it died of.

    Parameters
    ----------
    model
        The model that the runtime failed on.
    runtime
        The runtime.
    failure
        How it failed.
    samples
        Inputs that it failed with.
    timeout
        Seconds given to the whole model.

    """
    operators = model.subgraphs[0].operators
    index, evidence = _named(failure, operators), "as it says itself"
    if index is None:
        index, evidence = _alone(model, runtime, min(timeout, OP_TIMEOUT)), "this op alone does it"
    if index is None:
        index, evidence = _beginning(model, runtime, samples, timeout), "the shortest beginning of the model to do it"
    signal = failure.signal if isinstance(failure, RuntimeCrashed) and failure.signal else None
    words = failure.stderr.splitlines()[-1:] if isinstance(failure, RuntimeCrashed) and signal else [failure.message]
    return Death(
        _ending(failure),
        textwrap.shorten(" ".join(words), MESSAGE_LENGTH, placeholder=" ..."),
        signal,
        index,
        None if index is None else operators[index].name,
        "" if index is None else evidence,
    )


def _ending(failure: RuntimeFailure) -> Ending:
    if isinstance(failure, RuntimeRefused):
        return Ending.REFUSED
    return Ending.TIMED_OUT if isinstance(failure, RuntimeTimedOut) else Ending.CRASHED


def _named(failure: RuntimeFailure, operators: Sequence[fbs.Operator]) -> int | None:
    """Return the op that a refusal names, if it is one of these."""
    if isinstance(failure, RuntimeRefused) and failure.op_index is not None and failure.op_index < len(operators):
        return failure.op_index if operators[failure.op_index].name == failure.op_name else None
    return None


def _alone(model: fbs.Model, runtime: Runtime, timeout: float) -> int | None:
    """Return the first op that the runtime fails at when it is all there is."""
    for index in range(len(model.subgraphs[0].operators)):
        try:
            single = fbs.extract(model, 0, index)
            samples = random_samples(single, INVOCATIONS)
        except QuantrefError:
            continue
        if _fails(single, runtime, samples, timeout):
            return index
    return None


def _beginning(model: fbs.Model, runtime: Runtime, samples: Sequence[Sequence[Array]], timeout: float) -> int | None:
    """Return the last op of the shortest beginning of the model that the runtime fails at."""
    low, high = 0, len(model.subgraphs[0].operators)  # more than `low` ops are needed, `high` suffice
    if high == 0 or not _fails(model, runtime, samples, timeout):
        return None
    while low + 1 < high:
        middle = (low + high) // 2
        if _fails(_first_operators(model, middle), runtime, samples, timeout):
            high = middle
        else:
            low = middle
    return high - 1


def _first_operators(model: fbs.Model, count: int) -> fbs.Model:
    graph = model.subgraphs[0]
    kept = graph.operators[:count]
    outputs = tuple(index for operator in kept for index in operator.outputs if index >= 0)
    beginning = dataclasses.replace(graph, operators=kept, outputs=outputs)
    return dataclasses.replace(model, subgraphs=(beginning, *model.subgraphs[1:]), signatures=())


def _fails(model: fbs.Model, runtime: Runtime, samples: Sequence[Sequence[Array]], timeout: float) -> bool:
    with LiteRT(runtime) as litert:
        try:
            litert.run(fbs.write(model), samples, tensors=[], timeout=timeout)
        except RuntimeFailure:
            return True
        except QuantrefError:
            return False
    return False
