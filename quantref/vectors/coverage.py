"""What a case hits, counted from the stages that the definitions name and the numbers that the prepared ops hold.

Nothing here is claimed by whoever made the case. A *mark* is a word for something that a case has:

- ``tie positive: STAGE``, ``tie negative: STAGE``: a value halfway between two integers at a rounding;
- ``saturated below: STAGE``, ``saturated above: STAGE``, ``wrapped: STAGE``: a value beyond the end of a range;
- ``accumulator positive``, ``negative``, ``near the end``: signs, and beyond half of what 32 bits hold;
- ``multiplier smallest``, ``largest``, ``zero``; ``shift left``, ``shift right far``: of a fixed-point multiplier;
- ``zero point lowest``, ``highest``; ``padding``, ``uneven padding``, ``stride``, ``dilation``, ``channel multiplier``,
  ``groups``, ``size 1``: what the model asks for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fbs
from qmath.types import DType
from quantref.parameters import Parameter
from quantref.recording import Ends, Stage
from quantref.vectors.ties import Ties, ties_of

#: Stages that compute an op's numbers and not its values.
_NUMBERS = re.compile(r"multiplier|reciprocal of")
#: Parts of a tensor that a runtime treats alike but for the rounding; their stages count together.
_PLACES = re.compile(r"^(in blocks: |left over: )+")
_REPEATED = re.compile(r" \d+$")
#: From here on an accumulator is near the end of its 32 bits.
_NEAR = 1 << 30
_FAR = -24
#: Significands so close to an end count as that end: scales are float32, their products have steps.
_CLOSE = 1 << 8


@dataclass
class Coverage:
    """What was seen while a case ran under one profile.

    Attributes
    ----------
    elements
        Of all outputs.
    ties, ends
        Counts by stage.
    positive, negative
        Accumulators of each sign.
    low, high
        The smallest and the largest accumulator.
    marks
        See the module; those of stages follow from the counts.

    """

    elements: int = 0
    ties: dict[str, Ties] = field(default_factory=dict)
    ends: dict[str, Ends] = field(default_factory=dict)
    positive: int = 0
    negative: int = 0
    low: int | None = None
    high: int | None = None
    marks: set[str] = field(default_factory=set)

    def watch(self, stages: Iterable[Stage]) -> None:
        """Count what the stages of one op hit; their terms must have been kept."""
        for stage in stages:
            name = _REPEATED.sub("", _PLACES.sub("", stage.name))
            if _NUMBERS.search(name):
                continue
            ties = ties_of(stage)
            if ties:
                self.ties[name] = self.ties.get(name, Ties()) + ties
            if stage.ends:
                self.ends[name] = self.ends.get(name, Ends()) + stage.ends
            if name == "accumulator" and stage.value.dtype.kind == "i" and stage.value.size:
                self._accumulate(stage)

    def _accumulate(self, stage: Stage) -> None:
        value = stage.value
        self.positive += int(np.count_nonzero(value > 0))
        self.negative += int(np.count_nonzero(value < 0))
        low, high = int(value.min()), int(value.max())
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)

    def aims(self) -> tuple[str, ...]:
        """Return every mark, in order."""
        found = set(self.marks)
        for stage, ties in self.ties.items():
            found |= {f"tie {sign}: {stage}" for sign in ("positive", "negative") if getattr(ties, sign)}
        for stage, ends in self.ends.items():
            words = {"below": "saturated below", "above": "saturated above", "wrapped": "wrapped"}
            found |= {f"{word}: {stage}" for name, word in words.items() if getattr(ends, name)}
        found |= {f"accumulator {sign}" for sign in ("positive", "negative") if getattr(self, sign)}
        if max(-(self.low or 0), self.high or 0) >= _NEAR:
            found.add("accumulator near the end")
        return tuple(sorted(found))

    def counts(self) -> Counter[str]:
        """Return the numbers of elements, over all stages."""
        ties, ends = sum(self.ties.values(), Ties()), sum(self.ends.values(), Ends())
        return Counter(
            elements=self.elements,
            ties_positive=ties.positive,
            ties_negative=ties.negative,
            saturated_below=ends.below,
            saturated_above=ends.above,
            wrapped=ends.wrapped,
            accumulators_positive=self.positive,
            accumulators_negative=self.negative,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **dict(self.counts()),
            "accumulator": [self.low, self.high],
            "ties": {stage: [ties.negative, ties.positive] for stage, ties in sorted(self.ties.items())},
            "ends": {stage: ends.to_json() for stage, ends in sorted(self.ends.items())},
            "marks": list(self.aims()),
        }


# --- Marks of models ----------------------------------------------------------------------------------------------


def marks_of_op(view: fbs.OpView, parameters: Mapping[str, Parameter]) -> Iterator[str]:
    """Yield the marks of an op: of its tensors, its window, its multipliers."""
    for tensor in (*view.inputs, *view.outputs):
        if tensor is not None and tensor.data is None:
            yield from _marks_of_tensor(tensor)
    yield from _marks_of_window(parameters)
    if view.name == "DEPTHWISE_CONV_2D" and view.inputs[0] is not None and view.inputs[1] is not None:
        in_channels, out_channels = view.inputs[0].shape[-1:], view.inputs[1].shape[-1:]
        if out_channels > in_channels:
            yield "channel multiplier"
    for name, value in parameters.items():
        last = name.rpartition(".")[2]
        if last == "groups" and isinstance(value, int) and value > 1:
            yield "groups"
        elif last in {"multiplier", "shift"} and np.asarray(value).dtype.kind == "i":
            yield from _marks_of_numbers(last, np.asarray(value))


def _marks_of_tensor(tensor: fbs.Tensor) -> Iterator[str]:
    if 1 in tensor.shape:
        yield "size 1"
    if tensor.quant is not None and tensor.dtype in {DType.INT8, DType.UINT8}:
        ends = {"zero point lowest": tensor.dtype.min, "zero point highest": tensor.dtype.max}
        yield from (mark for mark, end in ends.items() if end in tensor.quant.zero_point)


def _marks_of_window(parameters: Mapping[str, Parameter]) -> Iterator[str]:
    for axis in ("window.height", "window.width"):
        before, after, dilation, stride = (
            parameters.get(f"{axis}.{name}", 0) for name in ("before", "after", "dilation", "stride")
        )
        if before or after:
            yield "padding"
        if before != after:
            yield "uneven padding"
        if isinstance(dilation, int) and dilation > 1:
            yield "dilation"
        if isinstance(stride, int) and stride > 1:
            yield "stride"


def _marks_of_numbers(kind: str, value: np.ndarray[Any, Any]) -> Iterator[str]:
    if kind == "multiplier":
        if np.any((value >= 1 << 30) & (value <= (1 << 30) + _CLOSE)):
            yield "multiplier smallest"
        if np.any(value >= (1 << 31) - _CLOSE):
            yield "multiplier largest"
        if np.any(value == 0):
            yield "multiplier zero"
    else:
        if np.any(value > 0):
            yield "shift left"
        if np.any(value <= _FAR):
            yield "shift right far"
