"""How fast a float32 model can be calibrated: run it, and observe every activation as style quantref does."""

from __future__ import annotations

import time

from benchmarks.engines import Process, ours
from benchmarks.models import BenchmarkModel
from benchmarks.results import Calibration
from benchmarks.speed import Effort
from quantref import Interpreter
from quantref.quantizer.calibration import Runner

#: A calibration has nothing to take turns with: it has the time of so many engines.
TURNS = 3


def calibrate(model: BenchmarkModel, batch: int, effort: Effort) -> Calibration:
    """Measure in a child process, on one thread; only the fastest pass counts."""
    engine = ours()
    with Process() as process:
        process.open(engine, model.path, model.inputs(batch), threads=1)
        seconds = process.ask(engine, "calibration", "observe", TURNS * effort.rounds, TURNS * effort.budget)
    return Calibration(model.name, batch, batch / seconds)


def observe(interpreter: Interpreter, passes: int, budget: float) -> float:
    """Return the seconds of the fastest pass of a calibration over the interpreter's inputs.

    They are seconds of the processor, so that one thread tells what one core does whatever else the machine is doing.

    Parameters
    ----------
    interpreter
        Its inputs are set.
    passes, budget
        How many passes at most, and seconds after which there are no more.

    """
    runner = Runner(interpreter.model)
    sample = [interpreter.get_tensor(index) for index in interpreter.model.subgraphs[0].inputs]
    runner.observe([sample])
    found: list[float] = []
    end = time.perf_counter() + budget
    while not found or (len(found) < passes and time.perf_counter() < end):
        start = time.process_time()
        runner.observe([sample])
        found.append(time.process_time() - start)
    return min(found)
