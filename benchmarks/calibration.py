"""How fast a float32 model can be calibrated: run it, and observe every activation as style quantref does."""

from __future__ import annotations

import time

from benchmarks.engines import Process, ours
from benchmarks.models import BenchmarkModel
from benchmarks.results import Calibration
from benchmarks.speed import Effort
from quantref import Interpreter
from quantref.quantizer.calibration import Runner


def calibrate(model: BenchmarkModel, batch: int, effort: Effort) -> Calibration:
    """Measure in a child process, on one thread; only the fastest pass counts."""
    with Process(ours()) as process:
        process.open(model.path, model.inputs(batch), threads=1)
        process.calls(process.engine.warm_up)
        seconds = process.ask("calibration", "observe", max(3, effort.rounds))
    return Calibration(model.name, batch, batch / seconds)


def observe(interpreter: Interpreter, passes: int) -> float:
    """Return the seconds of the fastest pass of a calibration over the interpreter's inputs.

    They are seconds of the processor, so that one thread tells what one core does whatever else the machine is doing.
    """
    runner = Runner(interpreter.model)
    sample = [interpreter.get_tensor(index) for index in interpreter.model.subgraphs[0].inputs]
    runner.observe([sample])
    found = []
    for _ in range(passes):
        start = time.process_time()
        runner.observe([sample])
        found.append(time.process_time() - start)
    return min(found)
