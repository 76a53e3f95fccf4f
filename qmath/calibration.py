"""Observers: from the values that a tensor takes on sample data to the range that its codes shall cover.

Every observer works in three steps, so that memory stays constant and samples can be observed in portions, anywhere:

1. ``summarize`` turns the values of a tensor in one sample into a summary of fixed size;
2. ``merge`` joins two summaries, the earlier one's samples before the later one's;
3. ``extent`` gives the range.

Merging is exact: except for the moving average, which depends on the order of the samples by its definition, a
summary is the same for any order and any portions.

======================== ==================================================== ===========================
observer                 range                                                follows
======================== ==================================================== ===========================
:class:`MinMax`          smallest to largest value                            ``calibration_logger.cc``
:class:`MovingAverage`   moving average of each sample's smallest and largest the AI Edge Quantizer
:class:`Percentile`      what all but the rarest extremes lie in              common practice
:class:`MeanSquaredError` that with the least squared error of the codes      common practice
:class:`Entropy`         that whose codes tell most of the distribution       Migacz, TensorRT (GTC 2017)
======================== ==================================================== ===========================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from qmath import clipping
from qmath.arguments import as_real
from qmath.errors import InputError
from qmath.histogram import Histogram
from qmath.types import Float32Array

S = TypeVar("S")

#: Values of this magnitude and beyond stand for infinity, as in the masks of attention; they are no measurements.
OVERWHELMING = 3e38
#: The least positive normal float32, at which TFLiteConverter's calibrator starts to look for the largest value.
FLT_MIN = np.finfo(np.float32).tiny


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of real values, float32, ends included."""

    minimum: np.float32
    maximum: np.float32

    @classmethod
    def of(cls, values: Float32Array) -> Extent:
        """Return the range of values; there is at least one."""
        return cls(np.float32(values.min()), np.float32(values.max()))

    def __or__(self, other: Extent) -> Extent:
        """Return the range that holds both."""
        return Extent(min(self.minimum, other.minimum), max(self.maximum, other.maximum))


class Observer(ABC, Generic[S]):
    """Watches one tensor. Observers are values: what they have seen is in summaries.

    Attributes
    ----------
    ordered
        Whether the range depends on the order of the samples. Then a later summary must be that of a single sample.

    """

    __slots__ = ()
    ordered: ClassVar[bool] = False

    @property
    @abstractmethod
    def name(self) -> str:
        """How :func:`observer_named` knows it."""

    @abstractmethod
    def summarize(self, values: Float32Array) -> S | None:
        """Return what to keep of a tensor's values in one sample; None if none of them counts.

        Raises
        ------
        InputError
            They are no real numbers.

        """

    @abstractmethod
    def merge(self, earlier: S, later: S) -> S:
        """Return the summary of the samples of both."""

    @abstractmethod
    def extent(self, summary: S) -> Extent:
        """Return the range."""

    def fold(self, summaries: Iterable[S | None]) -> S | None:
        """Merge summaries in order; None if nothing was seen."""
        total: S | None = None
        for summary in summaries:
            if total is None or summary is None:
                total = summary if total is None else total
            else:
                total = self.merge(total, summary)
        return total


def _counted(values: Float32Array, limit: float) -> tuple[Float32Array, Extent] | None:
    """Return the values that are numbers below ``limit`` in magnitude, and their range; None if there are none."""
    values = as_real(values, np.float32)
    if values.size == 0:
        return None
    extent = Extent.of(values)
    if -limit < extent.minimum and extent.maximum < limit:  # false if there is a NaN
        return values, extent
    values = values[np.abs(values) < limit] if limit < np.inf else values[~np.isnan(values)]
    return (values, Extent.of(values)) if values.size else None


@dataclass(frozen=True, slots=True)
class MinMax(Observer[Extent]):
    """The smallest and the largest value seen.

    Attributes
    ----------
    limit
        Values of this magnitude and beyond are ignored, as NaN always is; with infinity they count, infinite ones too.
    least_maximum
        The largest value is taken to be at least this. It is :data:`FLT_MIN` in TFLiteConverter, whose calibrator
        takes that for the lowest float: a tensor without positive values gets this maximum.

    """

    limit: float = OVERWHELMING
    least_maximum: float = -np.inf

    @property
    def name(self) -> str:
        """``min-max``."""
        return "min-max"

    def summarize(self, values: Float32Array) -> Extent | None:
        """Return the range of the sample's values."""
        counted = _counted(values, self.limit)
        return None if counted is None else counted[1]

    def merge(self, earlier: Extent, later: Extent) -> Extent:
        """Return the range of both."""
        return earlier | later

    def extent(self, summary: Extent) -> Extent:
        """Return the range, its maximum not below ``least_maximum``."""
        return Extent(summary.minimum, max(summary.maximum, np.float32(self.least_maximum)))


@dataclass(frozen=True, slots=True)
class MovingAverage(Observer[Extent]):
    """Moving averages of each sample's smallest and largest value, in float32: the AI Edge Quantizer's rule.

    ``average = momentum * average + (1 - momentum) * sample``; the first sample is where it starts. The order of the
    samples matters, and two averages cannot be merged: the later summary is that of one sample.
    """

    ordered: ClassVar[bool] = True
    momentum: float = 0.95
    limit: float = OVERWHELMING

    def __post_init__(self) -> None:
        """Check the momentum."""
        if not 0 <= self.momentum < 1:
            raise InputError(f"expected a momentum from 0 to below 1, found {self.momentum}")

    @property
    def name(self) -> str:
        """``moving-average``, with the momentum if it is not 0.95."""
        return "moving-average" + ("" if self.momentum == 0.95 else f":{self.momentum!r}")

    def summarize(self, values: Float32Array) -> Extent | None:
        """Return the range of the sample's values."""
        counted = _counted(values, self.limit)
        return None if counted is None else counted[1]

    def merge(self, earlier: Extent, later: Extent) -> Extent:
        """Move the average towards a sample."""
        return Extent(
            self._moved(earlier.minimum, later.minimum),
            self._moved(earlier.maximum, later.maximum),
        )

    def extent(self, summary: Extent) -> Extent:
        """Return the averages."""
        return summary

    def _moved(self, average: np.float32, sample: np.float32) -> np.float32:
        return np.float32(np.float32(self.momentum) * average + np.float32(1.0 - self.momentum) * sample)


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Summary of the observers that need more than two numbers."""

    histogram: Histogram
    extent: Extent


class HistogramObserver(Observer[Distribution]):
    """What the observers share that choose a range from a histogram."""

    __slots__ = ()

    def summarize(self, values: Float32Array) -> Distribution | None:
        """Return the histogram of the sample's values."""
        counted = _counted(values, OVERWHELMING)
        return None if counted is None else Distribution(Histogram.of(counted[0]), counted[1])

    def merge(self, earlier: Distribution, later: Distribution) -> Distribution:
        """Return the histogram of both."""
        return Distribution(earlier.histogram + later.histogram, earlier.extent | later.extent)

    def extent(self, summary: Distribution) -> Extent:
        """Return the chosen range, never beyond the values seen."""
        low, high = self._choose(summary.histogram, float(summary.extent.minimum), float(summary.extent.maximum))
        seen = summary.extent
        return Extent(
            min(max(np.float32(low), seen.minimum), seen.maximum),
            max(min(np.float32(high), seen.maximum), seen.minimum),
        )

    @abstractmethod
    def _choose(self, histogram: Histogram, minimum: float, maximum: float) -> tuple[float, float]:
        """Return the range for values that lie between these."""


@dataclass(frozen=True, slots=True)
class Percentile(HistogramObserver):
    """The range that ``percent`` of the values lie in, with as many left out below as above.

    Exact to one bin of :class:`qmath.histogram.Histogram`: a thousandth of the largest magnitude.
    """

    percent: float = 99.99

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 < self.percent <= 100:
            raise InputError(f"expected a percentage above 0 and up to 100, found {self.percent}")

    @property
    def name(self) -> str:
        """``percentile:`` and the share."""
        return f"percentile:{self.percent!r}"

    def _choose(self, histogram: Histogram, minimum: float, maximum: float) -> tuple[float, float]:
        if self.percent == 100:
            return minimum, maximum
        left_out = (1 - self.percent / 100) / 2
        return histogram.quantile(left_out), histogram.quantile(1 - left_out)


@dataclass(frozen=True, slots=True)
class MeanSquaredError(HistogramObserver):
    """The range whose asymmetric codes have the least squared error: clipping against resolution.

    See :func:`qmath.clipping.least_squared_error`.

    Attributes
    ----------
    levels
        How many codes there are.

    """

    levels: int = 256

    def __post_init__(self) -> None:
        """Check the number of codes."""
        _check_levels(self.levels)

    @property
    def name(self) -> str:
        """``mse``, with the number of codes if it is not 256."""
        return "mse" + ("" if self.levels == 256 else f":{self.levels}")

    def _choose(self, histogram: Histogram, minimum: float, maximum: float) -> tuple[float, float]:
        return clipping.least_squared_error(histogram, minimum, maximum, self.levels)


@dataclass(frozen=True, slots=True)
class Entropy(HistogramObserver):
    """The range whose codes lose the least information on how the values are distributed.

    It weighs values by how often they occur and not by how large they are: heavy tails are clipped hard, which suits
    some networks and ruins others (MobileNets among them). Compare before you rely on it.

    See :func:`qmath.clipping.least_divergence`.

    Attributes
    ----------
    levels
        How many codes there are.

    """

    levels: int = 256

    def __post_init__(self) -> None:
        """Check the number of codes."""
        _check_levels(self.levels)

    @property
    def name(self) -> str:
        """``entropy``, with the number of codes if it is not 256."""
        return "entropy" + ("" if self.levels == 256 else f":{self.levels}")

    def _choose(self, histogram: Histogram, minimum: float, maximum: float) -> tuple[float, float]:
        return clipping.least_divergence(histogram, minimum, maximum, self.levels)


def _check_levels(levels: int) -> None:
    if levels < 2:
        raise InputError(f"expected at least 2 codes, found {levels}")


MIN_MAX = MinMax()
#: What TFLiteConverter's calibrator does: infinite values count, and the maximum is positive.
CONVERTER_MIN_MAX = MinMax(limit=np.inf, least_maximum=float(FLT_MIN))
MOVING_AVERAGE = MovingAverage()

#: Each observer by name, and what the number behind a colon is for.
_MAKERS: MappingProxyType[str, tuple[Callable[..., Observer[Any]], Callable[[str], Any] | None]] = MappingProxyType(
    {
        "min-max": (MinMax, None),
        "moving-average": (MovingAverage, float),
        "percentile": (Percentile, float),
        "mse": (MeanSquaredError, int),
        "entropy": (Entropy, int),
    }
)
#: Names that :func:`observer_named` knows.
OBSERVERS = tuple(_MAKERS)


def observer_named(name: str) -> Observer[Any]:
    """Return an observer by name, with a number of its own behind a colon: ``"percentile:99.9"``.

    Raises
    ------
    InputError
        There is no such observer, or the number is not one that it takes.

    """
    kind, colon, argument = name.partition(":")
    if kind not in _MAKERS:
        raise InputError(f"expected an observer among {', '.join(OBSERVERS)}, found {name!r}")
    maker, number = _MAKERS[kind]
    if not colon:
        return maker()
    if number is None:
        raise InputError(f"expected no number for the observer {kind}, found {name!r}")
    try:
        return maker(number(argument))
    except ValueError as error:
        message = error.message if isinstance(error, InputError) else f"expected a number behind {kind}:"
        raise InputError(f"{message}, found {name!r}") from None
