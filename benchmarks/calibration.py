"""How fast a float32 model can be calibrated: run it, and take the minimum and maximum of every activation."""

from __future__ import annotations

import time

from benchmarks.engines import Process, ours
from benchmarks.models import BenchmarkModel
from benchmarks.results import Calibration
from benchmarks.speed import Effort
from qmath.types import DType
from quantref import Interpreter


def calibrate(model: BenchmarkModel, batch: int, effort: Effort) -> Calibration:
    """Measure in a child process, on one thread; only the fastest pass counts."""
    with Process(ours()) as process:
        process.open(model.path, model.inputs(batch), threads=1)
        process.calls(process.engine.warm_up)
        seconds = process.ask("calibration", "observe", max(3, effort.rounds))
    return Calibration(model.name, batch, batch / seconds)


def observe(interpreter: Interpreter, passes: int) -> float:
    """Return the seconds of the fastest pass, observers included."""
    graph = interpreter.model.subgraphs[0]
    written = {index for operator in graph.operators for index in operator.outputs if index >= 0}
    watched = [index for index in sorted(written.union(graph.inputs)) if graph.tensors[index].dtype is DType.FLOAT32]
    found = []
    for _ in range(passes):
        start = time.perf_counter()
        interpreter.invoke()
        for index in watched:
            value = interpreter.tensor(index)()
            value.min(), value.max()
        found.append(time.perf_counter() - start)
    return min(found)
