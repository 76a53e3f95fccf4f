"""Which ops a model should keep float: quantize it once for each, with that op left out, and see what is gained."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import fbs
from qmath.errors import InputError, QuantrefError
from qmath.types import Array
from quantref.execution import Graph
from quantref.interpreter import Interpreter, ModelSource, load
from quantref.quantizer.calibration import calibrate
from quantref.quantizer.noise import Tally, decibels, plain
from quantref.quantizer.pairing import pair_inputs, pair_outputs
from quantref.quantizer.plan import FLOAT, OpPlan
from quantref.quantizer.quantize import plan, quantize
from quantref.quantizer.recipe import Recipe, Rule
from quantref.quantizer.representative import RepresentativeDataset, Samples
from quantref.quantizer.request import Mode, mode_named
from quantref.quantizer.statistics import Statistics
from quantref.quantizer.tables import html_page, text_table

if TYPE_CHECKING:
    from concurrent.futures import Executor


@dataclass(frozen=True, slots=True)
class OpSensitivity:
    """What is gained by keeping one op float.

    Attributes
    ----------
    index, op, output
        The op of the float model: its number, name, and the name of its first result.
    sqnr
        Of the model with this op float, in decibels; None if that cannot be had.
    gain
        Over the model with nothing kept float.
    failure
        Why it cannot be had, or empty.

    """

    index: int
    op: str
    output: str
    sqnr: float | None
    gain: float | None
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: plain(value) if isinstance(value, float) else value for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class SensitivityReport:
    """What keeping each op float gains.

    Attributes
    ----------
    model, mode, style
        What was quantized, and how.
    samples
        How many the model was run on.
    sqnr
        Of the model with nothing kept float, in decibels.
    ops
        Those that the style quantizes, the most sensitive first.

    """

    model: str
    mode: str
    style: str
    samples: int
    sqnr: float
    ops: tuple[OpSensitivity, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "mode": self.mode,
            "style": self.style,
            "samples": self.samples,
            "sqnr": plain(self.sqnr),
            "ops": [op.to_json() for op in self.ops],
        }

    @property
    def headlines(self) -> list[str]:
        """The outcome in a line."""
        what = f"{self.model} in {self.mode}, style {self.style}, {self.samples} samples"
        return [f"{what}: {self.sqnr:.1f} dB with nothing kept float"]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Return the headings and the cells of the table."""
        return ["", "kept float", "giving", "SQNR", "gain"], [
            [
                str(op.index),
                op.op,
                op.output,
                op.failure if op.sqnr is None else f"{op.sqnr:.2f} dB",
                "" if op.gain is None else f"{op.gain:+.2f} dB",
            ]
            for op in self.ops
        ]

    def summary(self) -> str:
        """Return the outcome and the table as text."""
        return "\n".join([*self.headlines, text_table(*self.rows())])

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        return html_page(self.headlines, *self.rows())


def leave_one_float(
    model: ModelSource,
    data: RepresentativeDataset,
    *,
    mode: str | Mode = Mode.INT8,
    style: str = "quantref",
    statistics: Statistics | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SensitivityReport:
    """Measure the signal to quantization noise ratio of a model's outputs with each of its ops kept float in turn.

    The ratio is that of the noise relative to the signal, averaged over the outputs. Inputs and outputs stay float.

    Parameters
    ----------
    model
        A float model: a path, the bytes of a file, or a model.
    data
        Samples to run on, all held in memory (see :mod:`quantref.quantizer.representative`).
    mode, style
        How to quantize (see :func:`quantref.quantizer.quantize.quantize`).
    statistics
        Ranges of activations; by default those that the style's calibration finds in the data.
    executor
        Any :class:`concurrent.futures.Executor` to spread the ops over.
    progress
        Called with the number of models measured and of all.

    Raises
    ------
    InputError
        The data does not fit, or the style quantizes no op.
    ModelError, UnsupportedError
        The model cannot be read, quantized or run.

    """
    loaded, mode = load(model), mode_named(mode)
    samples = list(Samples(loaded, data))
    if statistics is None:
        statistics = calibrate(loaded, samples, style=style)
    found = plan(loaded, mode=mode, style=style, statistics=statistics)
    ops = [op for op in found.ops if op.form not in {FLOAT, "untouched"}]
    if not ops:
        raise InputError(f"expected a model that style {style} quantizes, found one of which every op stays float")
    subject = Subject(fbs.write(loaded), mode.value, style, statistics.to_json(), samples, _outputs(loaded, samples))
    base, *others = _measured(subject, [None, *ops], executor, progress)
    if isinstance(base, QuantrefError):
        raise base
    measured = [_sensitivity(op, outcome, base) for op, outcome in zip(ops, others, strict=True)]
    measured.sort(key=lambda op: -math.inf if op.gain is None else op.gain, reverse=True)
    name = loaded.path.name if loaded.path else "model"
    return SensitivityReport(name, mode.value, style, len(samples), base, tuple(measured))


def _sensitivity(op: OpPlan, outcome: float | QuantrefError, base: float) -> OpSensitivity:
    if isinstance(outcome, QuantrefError):
        return OpSensitivity(op.index, op.op, op.output, None, None, str(outcome))
    gain = 0.0 if outcome == base else outcome - base  # both may be infinite
    return OpSensitivity(op.index, op.op, op.output, outcome, gain)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured, in a form that another process can have.

    Attributes
    ----------
    source
        Bytes of the float model.
    mode, style, statistics
        How to quantize it.
    samples, references
        Inputs, and the float model's outputs.

    """

    source: bytes
    mode: str
    style: str
    statistics: Mapping[str, Any]
    samples: Sequence[Sequence[Array]]
    references: Sequence[Sequence[Array]]


def _measured(
    subject: Subject,
    ops: Sequence[OpPlan | None],
    executor: Executor | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[float | QuantrefError]:
    """Yield what the model measures with each op kept float."""
    outcomes: Iterable[float | QuantrefError] = (
        map(partial(measure, subject), ops)
        if executor is None
        else [future.result() for future in [executor.submit(measure, subject, op) for op in ops]]
    )
    for done, outcome in enumerate(outcomes, 1):
        if progress is not None:
            progress(done, len(ops))
        yield outcome


def measure(subject: Subject, op: OpPlan | None) -> float | QuantrefError:
    """Quantize a model with an op kept float and return its ratio in decibels, or why it cannot be had."""
    model = load(subject.source)
    try:
        quantized = quantize(
            model,
            mode=subject.mode,
            style=subject.style,
            statistics=Statistics.from_json(subject.statistics),
            recipe=Recipe(() if op is None else (_keep(op),)),
            input_type="float32",
            output_type="float32",
        )
        return _ratio(model, quantized, subject)
    except QuantrefError as error:
        return error


def _keep(op: OpPlan) -> Rule:
    return Rule(op=re.escape(op.op), tensor=f"^{re.escape(op.output)}$", mode=Mode.FLOAT32)


def _ratio(model: fbs.Model, quantized: fbs.Model, subject: Subject) -> float:
    """Run a quantized model and return its ratio of signal to noise in decibels."""
    graph = Interpreter(quantized).graph
    inputs = pair_inputs(model.subgraphs[0], graph.subgraph)
    outputs = pair_outputs(model.subgraphs[0], graph.subgraph)
    tallies = [Tally() for _ in outputs]
    for sample, references in zip(subject.samples, subject.references, strict=True):
        found = graph.run([sample[position] for position in inputs])
        for tally, position, output in zip(tallies, outputs, found, strict=True):
            tally.add(references[position], output)
    shares = [tally.noise / tally.signal for tally in tallies if tally.signal]
    return decibels(1.0, sum(shares) / len(shares)) if shares else math.inf


def _outputs(model: fbs.Model, samples: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]]:
    graph: Graph = Interpreter(model).graph
    return [tuple(output.copy() for output in graph.run(sample)) for sample in samples]
