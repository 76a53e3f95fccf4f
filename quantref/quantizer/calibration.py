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

Products of floats are added in BLAS's order, which changes last bits. The converter's calibrator runs float kernels
that add in yet another order: of 90 extents it stored, 50 are equal to the last bit in BLAS's order, and 46 in that of
LiteRT's reference kernels, which takes twice as long.

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
from kernels.engine import registry
from kernels.engine.types import OpView, Prepared
from kernels.profiles import LITERT_REFERENCE
from qmath.calibration import CONVERTER_MIN_MAX, MIN_MAX, MOVING_AVERAGE, Extent, Observer
from qmath.errors import InputError, QuantrefError
from qmath.types import Array, Float64Array
from quantref.blas_threads import one_blas_thread
from quantref.execution import Session
from quantref.interpreter import ModelSource, load
from quantref.locations import located
from quantref.names import tensor_keys
from quantref.quantizer.bias_correction import channel_counts, channel_means
from quantref.quantizer.pollution import overwritten_inputs, polluted
from quantref.quantizer.representative import RepresentativeDataset, Samples
from quantref.quantizer.statistics import Range, Statistics, model_digest, observed_tensors

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

#: Samples that an executor gets at a time, and how many such portions are under way.
PORTION, UNDER_WAY = 8, 8


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
    means
        Whether the means of channels are taken that weights are multiplied with.

    """

    observer: Observer[Any]
    free: bool
    pollutes: bool = False
    means: bool = False


RULES: Mapping[str, Rules] = MappingProxyType(
    {
        "quantref": Rules(MIN_MAX, free=True, means=True),
        "tflite": Rules(CONVERTER_MIN_MAX, free=False, pollutes=True),
        "aeq": Rules(MOVING_AVERAGE, free=False),
    }
)


def calibrate(
    model: ModelSource,
    representative_dataset: RepresentativeDataset,
    *,
    observer: Observer[Any] | None = None,
    observers: Mapping[str, Observer[Any]] | None = None,
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
    observers
        Exceptions, by the tensor's name (by ``index:name`` where names repeat).
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
        The data does not fit the model, there is none, the style does not have the observer, an exception is of no
        float activation, the model has none, or a range is infinite.
    ModelError, UnsupportedError
        The model cannot be read or run.

    """
    loaded = load(model)
    watch = _watch(loaded, _rules(style), observer, observers or {})
    samples = Samples(loaded, representative_dataset)
    total = _Totals(watch)
    for portion in _portions(loaded, watch, samples, executor):
        total.take(portion)
        if progress is not None:
            progress(total.samples, samples.total)
    return _statistics(loaded, total, pollutes=RULES[style].pollutes)


def _rules(style: str) -> Rules:
    if style not in RULES:
        raise InputError(f"expected a style among {', '.join(RULES)}, found {style!r}")
    return RULES[style]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who watches which tensor.

    Attributes
    ----------
    name
        Of the observer, as statistics keep it.
    observers
        By tensor index.
    channels
        By index of a tensor whose means are taken: how many channels it has.

    """

    name: str
    observers: Mapping[int, Observer[Any]]
    channels: Mapping[int, int] = field(default_factory=dict)


def _watch(
    model: fbs.Model, rules: Rules, observer: Observer[Any] | None, exceptions: Mapping[str, Observer[Any]]
) -> Watch:
    """Give every float activation an observer."""
    for asked in (observer, *exceptions.values()):
        if asked is not None and not rules.free and asked.name != rules.observer.name:
            raise InputError(f"expected the style's own observer, {rules.observer.name}, found {asked.name}")
    usual = observer if observer is not None and rules.free else rules.observer
    tensors = observed_tensors(model.subgraphs[0])
    keys = tensor_keys(model.subgraphs[0])
    unknown = [key for key in exceptions if key not in {keys[index] for index in tensors}]
    if unknown:
        raise InputError(f"expected an observer of a float activation, found one of {unknown[0]!r}")
    if not tensors:
        raise InputError("expected a float model, found one without float activations")
    name = f"{usual.name}, with exceptions" if exceptions else usual.name
    watched = {index: exceptions.get(keys[index], usual) for index in tensors}
    channels = channel_counts(model.subgraphs[0]) if rules.means else {}
    return Watch(name, watched, {index: count for index, count in channels.items() if index in watched})


@dataclass(frozen=True, slots=True)
class Portion:
    """What a run over consecutive samples found.

    Attributes
    ----------
    samples
        How many there were.
    summaries
        By tensor: one where the order of samples does not matter, otherwise one a sample.
    sizes
        Bytes of each tensor in the first sample.
    means
        By tensor, of each sample: the means of its channels.

    """

    samples: int
    summaries: Mapping[int, Sequence[Any]]
    sizes: Mapping[int, int]
    means: Mapping[int, Sequence[Float64Array]]


@dataclass
class _Totals:
    """What was found so far."""

    watch: Watch
    samples: int = 0
    summaries: dict[int, Any] = field(default_factory=dict)
    sizes: Mapping[int, int] | None = None
    means: dict[int, Float64Array] = field(default_factory=dict)

    def take(self, portion: Portion) -> None:
        """Add what the samples that follow gave."""
        self.samples += portion.samples
        self.sizes = portion.sizes if self.sizes is None else self.sizes
        for index, found in portion.summaries.items():
            self.summaries[index] = self.watch.observers[index].fold([self.summaries.get(index), *found])
        for index, of_samples in portion.means.items():
            for mean in of_samples:  # one by one, so that portions make no difference
                self.means[index] = self.means.get(index, 0.0) + mean


def _statistics(model: fbs.Model, total: _Totals, *, pollutes: bool) -> Statistics:
    subgraph, observers = model.subgraphs[0], total.watch.observers
    extents = {index: observers[index].extent(summary) for index, summary in total.summaries.items()}
    if pollutes:
        extents = polluted(extents, overwritten_inputs(subgraph, total.sizes))
    keys = tensor_keys(subgraph)
    ranges = {keys[index]: _range(keys[index], extent) for index, extent in sorted(extents.items())}
    means = {keys[index]: tuple(sums / total.samples) for index, sums in sorted(total.means.items())}
    finite = {key: values for key, values in means.items() if np.all(np.isfinite(values))}
    return Statistics(ranges, total.samples, total.watch.name, model_digest(model), finite)


def _range(key: str, extent: Extent) -> Range:
    try:
        return Range(extent.minimum, extent.maximum)
    except QuantrefError as error:
        raise error.within(f"tensor {key!r}") from None


def _portions(
    model: fbs.Model, watch: Watch, samples: Iterable[Sequence[Array]], executor: Executor | None
) -> Iterator[Portion]:
    """Yield what consecutive portions of the samples give, in order."""
    if executor is None or any(tensor.is_variable for tensor in model.subgraphs[0].tensors):
        runner = Runner(model, watch)
        for sample in samples:
            yield runner.observe([sample])
        return
    source, reader = fbs.write(model), iter(samples)
    under_way: deque[Future[Portion]] = deque()
    try:
        # Copies: whoever gives the samples may fill the same array again and again.
        while portion := [[array.copy() for array in sample] for sample in islice(reader, PORTION)]:
            under_way.append(executor.submit(observe, source, watch, portion))
            if len(under_way) == UNDER_WAY:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def observe(source: bytes, watch: Watch, samples: Sequence[Sequence[Array]]) -> Portion:
    """Run a model from its bytes: what an executor does."""
    return Runner(load(source), watch).observe(samples)


def _prepared(graph: int, op: int, view: OpView) -> Prepared:
    """Prepare an op; its products may be added in any order (see the module)."""
    del graph, op
    return registry.prepare(view, LITERT_REFERENCE).in_any_order()


class Runner:
    """Runs a model on samples and observes its activations; state stays from one sample to the next.

    Parameters
    ----------
    model
        The float model.
    watch
        Who watches; by default as style ``quantref`` has it.

    """

    def __init__(self, model: fbs.Model, watch: Watch | None = None) -> None:
        watch = watch or _watch(model, RULES["quantref"], None, {})
        self._model = model
        self._graph = Session(model, LITERT_REFERENCE, prepare=_prepared).graph(0)
        self._graph.load_constants()
        self._observers = watch.observers
        self._channels = watch.channels
        self._states = [index for index in watch.observers if model.subgraphs[0].tensors[index].is_variable]

    def observe(self, samples: Sequence[Sequence[Array]]) -> Portion:
        """Run consecutive samples."""
        found: dict[int, list[Any]] = {}
        sizes: dict[int, int] = {}
        means: dict[int, list[Float64Array]] = {index: [] for index in self._channels}
        for sample in samples:
            for index, summary in self._summaries(sample).items():
                earlier = found.setdefault(index, [])
                if earlier and not self._observers[index].ordered:
                    earlier[0] = self._observers[index].merge(earlier[0], summary)
                else:
                    earlier.append(summary)
            sizes = sizes or self._sizes()
            for index, channels in self._channels.items():
                means[index].append(channel_means(self._graph.value(index), channels))
        return Portion(len(samples), found, sizes, means)

    def _summaries(self, sample: Sequence[Array]) -> dict[int, Any]:
        """Run a sample and summarize each tensor that took values that count."""
        values = self._graph.values
        before = {index: values[index] for index in self._states}
        with located(*([str(self._model.path)] if self._model.path else [])), one_blas_thread():
            self._graph.run(sample)
        summaries = {}
        for index, observer in self._observers.items():
            value, earlier = values[index], before.get(index)
            if value is not None:
                seen = value if earlier is None else np.concatenate([earlier.reshape(-1), value.reshape(-1)])
                summaries[index] = observer.summarize(seen)
        return {index: summary for index, summary in summaries.items() if summary is not None}

    def _sizes(self) -> dict[int, int]:
        values = self._graph.values
        return {index: value.nbytes for index in self._observers if (value := values[index]) is not None}
