"""What integer kernels need to know of each op: multipliers, shifts, offsets, ranges, as a table, CSV or C arrays."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.engine import registry
from kernels.engine.types import Inputs, OpView, Prepared
from kernels.profiles import LITERT_REFERENCE, Profile, profile_named
from qmath.errors import QuantrefError
from qmath.multiplier import quantize_multiplier, real_value
from qmath.requantize import Requantize
from qmath.types import ActivationRange, FixedPointMultiplier, Float64Array, Int64Array
from quantref.control_flow import HANDLERS
from quantref.execution import Session
from quantref.interpreter import ModelSource, load
from quantref.locations import located
from quantref.names import tensor_keys
from quantref.parameters import holders, words
from quantref.roles import role


@dataclass(frozen=True, slots=True)
class Multiplier:
    """One multiplier of an op, or one for each channel, and what goes with it.

    Attributes
    ----------
    op_index, op_name, output
        The op, and the tensor that it gives.
    place
        Where the op holds it: ``"requantize"`` from the accumulator to the output; others such as ``"first"``, of an
        input of ADD.
    regime
        How the runtime of the profile multiplies and rounds. Where that is in floating point, multiplier and shift
        are what fixed-point kernels would use.
    real_multiplier
        float64, one entry, or one a channel; none for an op that only clamps.
    multiplier, shift
        int64 holding int32, as many: the real multiplier is ``multiplier * 2**(shift - 31)``, nearly.
    offsets
        What the kernel adds, by name: ``input_offset``, ``input2_offset`` and ``filter_offset`` are minus the zero
        points of inputs and filter; ``output_offset`` is the output's zero point.
    activation
        What the output is clamped to, in codes; None where the multiplier is not followed by a clamp.

    """

    op_index: int
    op_name: str
    output: str
    place: str
    regime: str
    real_multiplier: Float64Array
    multiplier: Int64Array
    shift: Int64Array
    offsets: Mapping[str, int]
    activation: ActivationRange | None

    @property
    def per_axis(self) -> bool:
        """Whether there is one for each channel."""
        return self.multiplier.size > 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        clamp = self.activation
        return {
            "op": {"index": self.op_index, "name": self.op_name, "output": self.output},
            "place": self.place,
            "regime": self.regime,
            "real_multiplier": self.real_multiplier.tolist(),
            "multiplier": self.multiplier.tolist(),
            "shift": self.shift.tolist(),
            "offsets": dict(self.offsets),
            "activation": None if clamp is None else {"min": clamp.min, "max": clamp.max},
        }


#: What a table, or CSV, shows.
HEAD = (
    "op",
    "name",
    "output",
    "place",
    "channel",
    "real_multiplier",
    "multiplier",
    "shift",
    "input_offset",
    "input2_offset",
    "filter_offset",
    "output_offset",
    "activation_min",
    "activation_max",
    "regime",
)


#: What kernels call minus the zero point of an input, by what the input is to the op.
_OFFSETS = {
    "input": "input_offset",
    "input_1": "input_offset",
    "input_2": "input2_offset",
    "left": "input_offset",
    "right": "filter_offset",
    "filter": "filter_offset",
    "weights": "filter_offset",
}


@dataclass(frozen=True, slots=True)
class MultiplierTable:
    """The multipliers of every op of a model's main subgraph.

    Attributes
    ----------
    model, profile
        Name of the file, if it has one, and the arithmetic.
    entries
        In the order of the ops; ops without multipliers have none.
    refusals
        Ops that are not covered, by index, and why.

    """

    model: str
    profile: str
    entries: tuple[Multiplier, ...]
    refusals: Mapping[int, str]

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a row of :data:`HEAD` for every multiplier and channel; what an op does not have is empty."""
        for entry in self.entries:
            for channel in range(max(entry.multiplier.size, 1)):
                yield _row(entry, channel)

    def to_csv(self) -> str:
        """Return :meth:`rows` as comma-separated values under a heading."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows((HEAD, *self.rows()))
        return text.getvalue()

    def to_c(self) -> str:
        """Return C arrays of multipliers and shifts, and constants of offsets and ranges."""
        name = re.sub(r"[^\x20-\x7e]|\*/|\?\?", "?", self.model)
        lines = [f"/* {name}, profile {self.profile}: real = multiplier * 2^(shift - 31). */", "#include <stdint.h>"]
        for index in dict.fromkeys(entry.op_index for entry in self.entries):
            lines += ["", *_c([entry for entry in self.entries if entry.op_index == index])]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "profile": self.profile,
            "multipliers": [entry.to_json() for entry in self.entries],
            "refusals": {str(index): reason for index, reason in self.refusals.items()},
        }

    def summary(self) -> str:
        """Return how many there are, and which ops are not covered."""
        ops, channels = len({entry.op_index for entry in self.entries}), sum(e.multiplier.size for e in self.entries)
        lines = [f"{self.model} under {self.profile}: {channels} multipliers of {ops} ops"]
        lines += [f"op {index} is not covered: {reason}" for index, reason in self.refusals.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in HEAD)
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows())
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        lines = "<br>".join(html.escape(line) for line in self.summary().splitlines())
        return f"<p>{lines}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def multipliers(model: ModelSource, profile: str | Profile = LITERT_REFERENCE) -> MultiplierTable:
    """Prepare every op at the shapes of the file and collect its multipliers.

    Raises
    ------
    InputError, ModelError, UnsupportedError
        The model cannot be read.

    """
    loaded = load(model)
    session = Session(loaded, profile_named(profile))
    graph = session.graph(0)
    keys = tensor_keys(graph.subgraph)
    entries: list[Multiplier] = []
    refusals: dict[int, str] = {}
    for index, operator in enumerate(graph.subgraph.operators):
        if operator.name in HANDLERS:
            continue
        shapes = [graph.subgraph.tensors[n].shape if n >= 0 else None for n in operator.inputs]
        view = graph.view(index, shapes)
        output = keys[operator.outputs[0]] if operator.outputs else ""
        try:
            with located(), np.errstate(all="ignore"):
                prepared = registry.prepare(view, session.profile)
                entries += list(_of_op(index, view, output, prepared, _stand_ins(view)))
        except QuantrefError as error:
            refusals[index] = error.message
    return MultiplierTable(loaded.path.name if loaded.path else "model", session.profile.name, tuple(entries), refusals)


def _stand_ins(view: OpView) -> Inputs:
    """Return the constants of an op, and for activations arrays of zeros that take no memory."""
    return [
        None
        if tensor is None
        else tensor.data
        if tensor.data is not None
        else np.broadcast_to(np.zeros((), tensor.dtype.storage), tensor.shape)
        for tensor in view.inputs
    ]


def _of_op(index: int, view: OpView, output: str, prepared: Prepared, inputs: Inputs) -> Iterator[Multiplier]:
    offsets, name = _offsets(view), view.name
    requantizations = holders(prepared, Requantize) | dict(prepared.requantizations(inputs))
    for place, held in requantizations.items():
        real = np.atleast_1d(held.real_multiplier)
        fixed = held.factor if isinstance(held.factor, FixedPointMultiplier) else quantize_multiplier(real)
        regime = words(type(held.regime).__name__)
        yield Multiplier(index, name, output, place, regime, real, *_fields(fixed), offsets, held.activation)
    inside = {id(held.factor) for held in requantizations.values()}
    others = {place: held for place, held in holders(prepared, FixedPointMultiplier).items() if id(held) not in inside}
    for place, fixed in others.items():
        real = np.atleast_1d(real_value(fixed))
        yield Multiplier(index, name, output, place.removesuffix(".factor"), "", real, *_fields(fixed), offsets, None)
    clamps = list(holders(prepared, ActivationRange).values())
    if clamps and not requantizations and not others:
        nothing = np.zeros(0, np.int64)
        yield Multiplier(index, name, output, "", "", nothing.astype(np.float64), nothing, nothing, offsets, clamps[0])


def _fields(fixed: FixedPointMultiplier) -> tuple[Int64Array, Int64Array]:
    return np.atleast_1d(fixed.multiplier), np.atleast_1d(fixed.shift)


def _offsets(view: OpView) -> dict[str, int]:
    """Return what kernels add to codes: minus the zero points of inputs and filter, plus that of the output."""
    found = {}
    for slot, tensor in enumerate(view.inputs):
        name = _OFFSETS.get(role(view, slot))
        if tensor is not None and tensor.quant is not None and name is not None:
            # Kernels take the filter of a per-axis op for symmetric.
            found[name] = 0 if tensor.quant.per_axis else -int(tensor.quant.zero_point[0])
    if view.outputs and view.outputs[0].quant is not None:
        found["output_offset"] = int(view.outputs[0].quant.zero_point[0])
    return found


# --- Rows and C ---------------------------------------------------------------------------------------------------


def _row(entry: Multiplier, channel: int) -> tuple[str, ...]:
    clamp, empty = entry.activation, entry.multiplier.size == 0
    return (
        str(entry.op_index),
        entry.op_name,
        entry.output,
        entry.place,
        str(channel) if entry.per_axis else "",
        "" if empty else repr(float(entry.real_multiplier[channel])),
        "" if empty else str(entry.multiplier[channel]),
        "" if empty else str(entry.shift[channel]),
        *(str(entry.offsets.get(name, "")) for name in HEAD if name.endswith("_offset")),
        "" if clamp is None else str(clamp.min),
        "" if clamp is None else str(clamp.max),
        entry.regime,
    )


def _c(entries: Sequence[Multiplier]) -> Iterator[str]:
    """Yield the lines of one op: identifiers begin with its number and name."""
    first = entries[0]
    prefix = _identifier(f"op{first.op_index}_{first.op_name}")
    yield f"/* op {first.op_index} {first.op_name} */"
    constants = dict(first.offsets)
    for entry in entries:
        place = "" if entry.place == "requantize" else f"_{_identifier(entry.place)}"
        if entry.regime:
            yield f"/* {entry.place}: {entry.regime} */"
        for what, values in (("multiplier", entry.multiplier), ("shift", entry.shift)):
            if values.size:
                yield from _c_array(f"{prefix}{place}_{what}", [int(value) for value in values])
        if entry.activation is not None:
            place = place if entry.place else ""
            constants |= {
                f"{place}_activation_min".lstrip("_"): entry.activation.min,
                f"{place}_activation_max".lstrip("_"): entry.activation.max,
            }
    for what, value in constants.items():
        yield f"static const int32_t {prefix}_{what} = {_c_number(value)};"


def _identifier(text: str) -> str:
    return re.sub(r"\W", "_", text.lower(), flags=re.ASCII)


def _c_array(name: str, values: list[int]) -> Iterator[str]:
    yield f"static const int32_t {name}[{len(values)}] = {{"
    for start in range(0, len(values), 8):
        yield "  " + " ".join(f"{_c_number(value)}," for value in values[start : start + 8])
    yield "};"


def _c_number(value: int) -> str:
    # C has no negative literals: the lowest int32 would be minus a number that does not fit.
    return str(value) if value > -(1 << 31) else "(-2147483647 - 1)"
