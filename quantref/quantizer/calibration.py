"""Calibration: run a float model over representative data and keep the range of every activation.

Three styles. What they have in common: samples are read one by one and never held, and a range is made from summaries
of fixed size, so that memory does not depend on the number of samples. Tensors that hold state keep it from one sample
to the next, and their values before and after a sample both count.

============ =============== ===============================================================================
style        observer        what is particular to it
============ =============== ===============================================================================
``quantref`` your choice     what overflows or masks (3e38 and beyond, NaN) is not taken for a measurement
``tflite``   min-max         tensors that the runtime overwrites take in what replaced them
                             (:mod:`quantref.quantizer.pollution`); the maximum is positive; infinity counts
``aeq``      moving average  the order of samples matters; 3e38 and beyond are left out
============ =============== ===============================================================================

Source: ``tflite/tools/optimize/calibration/calibrator.cc`` and ``calibration_logger.h``; the AI Edge Quantizer's
min-max calibration.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

import fbs
from qmath.calibration import CONVERTER_MIN_MAX, MIN_MAX, MOVING_AVERAGE, Extent, Observer
from qmath.errors import InputError, QuantrefError
from qmath.types import Array
from quantref.execution import located
from quantref.interpreter import Interpreter, ModelSource, load
from quantref.names import tensor_keys
from quantref.quantizer.pollution import overwritten_inputs, polluted
from quantref.quantizer.representative import RepresentativeDataset, Samples
from quantref.quantizer.statistics import Range, Statistics, model_digest, observed_tensors

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

#: Samples that an executor gets at a time, and how many such portions are under way.
PORTION, UNDER_WAY = 8, 8

#: Summaries by tensor index.
Summaries = Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a style does.

    Attributes
    ----------
    observer
        Its own observer.
    free
        Whether another observer may take its place.
    pollutes
        Whether overwritten tensors take in what replaced them.

    """

    observer: Observer[Any]
    free: bool
    pollutes: bool = False


RULES: Mapping[str, Rules] = MappingProxyType(
    {
        "quantref": Rules(MIN_MAX, free=True),
        "tflite": Rules(CONVERTER_MIN_MAX, free=False, pollutes=True),
        "aeq": Rules(MOVING_AVERAGE, free=False),
    }
)


def calibrate(
    model: ModelSource,
    representative_dataset: RepresentativeDataset,
    *,
    observer: Observer[Any] | None = None,
    style: str = "quantref",
    executor: Executor | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Statistics:
    """Run a float model over representative data and return the range of every float activation.

    Parameters
    ----------
    model
        A path, the bytes of a file, or a model.
    representative_dataset
        See :mod:`quantref.quantizer.representative`.
    observer
        What makes a range out of the values seen; by default the style's own (see :mod:`qmath.calibration`).
    style
        ``"quantref"``, ``"tflite"`` or ``"aeq"``; see the module.
    executor
        Any :class:`concurrent.futures.Executor` to spread samples over. The statistics are the same with any number
        of workers, provided that these compute with the same NumPy on the same kind of machine. Models with state
        between samples are run here, in order.
    progress
        Called with the number of samples done and of all; None for the latter if it is not known.

    Returns
    -------
    Statistics of the main subgraph. A tensor that took no value that counts has none.

    Raises
    ------
    InputError
        The data does not fit the model, there is none, the style does not have the observer, the model has no float
        activations, or a range is infinite.
    ModelError, UnsupportedError
        The model cannot be read or run.

    """
    rules = _rules(style, observer)
    loaded = load(model)
    if not observed_tensors(loaded.subgraphs[0]):
        raise InputError("expected a float model, found one without float activations")
    samples = Samples(loaded, representative_dataset)
    chosen = observer if observer is not None and rules.free else rules.observer
    total = _Totals(chosen)
    for portion in _portions(loaded, chosen, samples, executor):
        total.take(portion)
        if progress is not None:
            progress(total.samples, samples.total)
    return _statistics(loaded, rules, total)


def _rules(style: str, observer: Observer[Any] | None) -> Rules:
    if style not in RULES:
        raise InputError(f"expected a style among {', '.join(RULES)}, found {style!r}")
    rules = RULES[style]
    if observer is not None and not rules.free and observer.name != rules.observer.name:
        raise InputError(f"expected the observer {rules.observer.name} in style {style}, found {observer.name}")
    return rules


@dataclass(frozen=True, slots=True)
class Portion:
    """What a run over consecutive samples found.

    Attributes
    ----------
    samples
        How many there were.
    summaries
        One for all samples where their order does not matter, otherwise one a sample.
    sizes
        Bytes of each observed tensor in the first sample.

    """

    samples: int
    summaries: tuple[Summaries, ...]
    sizes: Mapping[int, int]


@dataclass
class _Totals:
    """What was found so far."""

    observer: Observer[Any]
    samples: int = 0
    summaries: dict[int, Any] = field(default_factory=dict)
    sizes: Mapping[int, int] | None = None

    def take(self, portion: Portion) -> None:
        """Add what the samples that follow gave."""
        self.samples += portion.samples
        self.sizes = portion.sizes if self.sizes is None else self.sizes
        for summaries in portion.summaries:
            for index, summary in summaries.items():
                self.summaries[index] = self.observer.fold([self.summaries.get(index), summary])


def _statistics(model: fbs.Model, rules: Rules, total: _Totals) -> Statistics:
    subgraph = model.subgraphs[0]
    extents = {index: total.observer.extent(summary) for index, summary in total.summaries.items()}
    if rules.pollutes:
        extents = polluted(extents, overwritten_inputs(subgraph, total.sizes))
    keys = tensor_keys(subgraph)
    ranges = {keys[index]: _range(keys[index], extent) for index, extent in sorted(extents.items())}
    return Statistics(ranges, total.samples, total.observer.name, model_digest(model))


def _range(key: str, extent: Extent) -> Range:
    try:
        return Range(extent.minimum, extent.maximum)
    except QuantrefError as error:
        raise error.within(f"tensor {key!r}") from None


def _portions(
    model: fbs.Model, observer: Observer[Any], samples: Iterable[Sequence[Array]], executor: Executor | None
) -> Iterator[Portion]:
    """Yield what consecutive portions of the samples give, in order."""
    if executor is None or any(tensor.is_variable for tensor in model.subgraphs[0].tensors):
        runner = Runner(model, observer)
        for sample in samples:
            yield runner.observe([sample])
        return
    source, reader = fbs.write(model), iter(samples)
    under_way: deque[Future[Portion]] = deque()
    try:
        # Copies: whoever gives the samples may fill the same array again and again.
        while portion := [[array.copy() for array in sample] for sample in islice(reader, PORTION)]:
            under_way.append(executor.submit(observe, source, observer, portion))
            if len(under_way) == UNDER_WAY:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def observe(source: bytes, observer: Observer[Any], samples: Sequence[Sequence[Array]]) -> Portion:
    """Run a model from its bytes: what an executor does."""
    return Runner(load(source), observer).observe(samples)


class Runner:
    """Runs a model on samples and observes its activations; state stays from one sample to the next."""

    def __init__(self, model: fbs.Model, observer: Observer[Any]) -> None:
        self._model = model
        self._graph = Interpreter(model).graph
        self._graph.load_constants()
        self._observer = observer
        self._observed = observed_tensors(model.subgraphs[0])
        self._states = [index for index in self._observed if model.subgraphs[0].tensors[index].is_variable]

    def observe(self, samples: Sequence[Sequence[Array]]) -> Portion:
        """Run consecutive samples."""
        found: list[dict[int, Any]] = []
        sizes: dict[int, int] = {}
        for sample in samples:
            summaries = self._run(sample)
            if not found:
                sizes = self._sizes()
            if found and not self._observer.ordered:
                self._join(found[0], summaries)
            else:
                found.append(summaries)
        return Portion(len(samples), tuple(found), sizes)

    def _run(self, sample: Sequence[Array]) -> dict[int, Any]:
        values = self._graph.values
        before = {index: values[index] for index in self._states}
        with located(*([str(self._model.path)] if self._model.path else [])):
            self._graph.run(sample)
        summaries = {}
        for index in self._observed:
            value, earlier = values[index], before.get(index)
            if value is not None:
                seen = value if earlier is None else np.concatenate([earlier.reshape(-1), value.reshape(-1)])
                summaries[index] = self._observer.summarize(seen)
        return {index: summary for index, summary in summaries.items() if summary is not None}

    def _join(self, total: dict[int, Any], later: Summaries) -> None:
        for index, summary in later.items():
            total[index] = self._observer.fold([total.get(index), summary])

    def _sizes(self) -> dict[int, int]:
        values = self._graph.values
        return {index: value.nbytes for index in self._observed if (value := values[index]) is not None}
