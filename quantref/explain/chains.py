"""From scales to the numbers that an op multiplies by, shifts by and clamps to: the formulas that runtimes follow.

A *chain* is a row of formulas, each in names of scales, options and of the formulas before it. Runtimes differ in the
order and the precision of a product of scales, and a multiplier's last bits with them; so there are several chains for
a number, and the one is shown that gives exactly the number that the kernel used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from kernels.engine.activation import Activation
from kernels.engine.types import OpView

#: Formulas, each with the name of what it gives.
Chain = tuple[tuple[str, str], ...]

#: From a real multiplier to 31 bits of a multiplier, and a power of two.
ENCODED: Chain = (
    ("shift", "floor_log2(real_multiplier) + 1"),
    ("significand", "real_multiplier / 2**shift"),
    ("multiplier", "half_away(significand * 2**31)"),
)
#: The same with 15 bits and a sign.
ENCODED_IN_16_BITS: Chain = (
    *ENCODED[:2],
    ("multiplier", "min(half_up(half_away(significand * 2**31) / 2**16), 32767)"),
)
IN_256THS: Chain = (("multiplier", "half_even(256 * real_multiplier)"),)

#: Real multipliers from one scale, and from two; ``result`` is the output's.
_ONE = (
    "float64({a} / {result})",
    "float32({a} / {result})",
    "float32(float32({a} * alpha) / {result})",
    "float32(float32({a} * abs(alpha)) / {result})",
    "float64(1 / float32(float32(sqrt({a})) * {result}))",
    "{a}",
)
#: Real multipliers of ops that take an input to a fixed point of their own.
_OWN: Mapping[str, tuple[str, ...]] = {
    "SOFTMAX": (
        "min(float64(beta * input_scale) * 2**26, 2**31 - 1)",
        "float64(float64(input_scale * beta) / float64(10 / 65535))",
        "float64(float32(input_scale * beta) / float64(10 / 65535))",
    ),
    "LOG_SOFTMAX": ("input_scale * 2**26",),
    "LOGISTIC": ("input_scale * 2**27",),
    "TANH": ("input_scale * 2**27",),
}
_TWO = (
    "float64(float64({a} * {b}) / {result})",
    "float64(float32({a} * {b}) / {result})",
    "float32(float32({a} * {b}) / {result})",
    "float32({a} / float32({b} * {result}))",
    "float32({a} * float32({b} / {result}))",
)
#: ADD and its kin: each input relative to twice the larger scale, the sum relative to the output's scale.
_OF_AN_INPUT = ("float64({a} / float32(2 * max({a}, {b})))", "float32({a} / float32(2 * max({a}, {b})))")
_OF_THE_SUM = (
    "float64(float64(float32(2 * max({a}, {b})) * float32(2 * max({a}, {b}))) / float32(2**14 * {result}))",
    *(
        f"float{bits}(float32(2 * max({{a}}, {{b}})) / float32(2**{left} * {{result}}))"
        for left in (20, 15)
        for bits in (64, 32)
    ),
    "float64(float32(2 * max({a}, {b})) * float32(2 * max({a}, {b})) / float32(2**14 * {result}))",
)
#: Which scales make the multipliers of ops that have more than two inputs with scales: a, b, and what they make.
_TRIPLES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "SVDF": (("input", "feature_weights", "state"), ("state", "time_weights", "output")),
}
#: The hires input of HARD_SWISH in units of the output, and in 3/32768.
_HARD_SWISH = {
    "on output scale": "float32(float32(input_scale / 128) / output_scale)",
    "reluish: high multiply": "float32(float32(input_scale / 128) / float32(3 / 32768))",
}
#: XNNPACK's ADD and SUB: both inputs relative to the output.
_RATIOS: Chain = (
    ("ratio_1", "float32(input_1_scale / output_scale)"),
    ("ratio_2", "float32(input_2_scale / output_scale)"),
)
_CURVES = frozenset({"LOGISTIC", "TANH"})
_ADDS, _ROWS = frozenset({"ADD", "SUB"}), frozenset({"SOFTMAX", "LOG_SOFTMAX"})
#: Other numbers, by the op, the stage that uses them, and their name there; None stands for every op or stage.
_OTHERS: tuple[tuple[frozenset[str] | None, str | None, str, tuple[Chain, ...]], ...] = (
    (_ADDS, "shifted right", "right", ((*_RATIOS, ("right", "20 - floor_log2(max(ratio_1, ratio_2))")),)),
    (_ADDS, "accumulator", "multiplier_1", ((("multiplier_1", "half_even(ratio_1 * 2**right)"),),)),
    (
        _ADDS,
        "accumulator",
        "multiplier_2",
        tuple((("multiplier_2", f"{sign}half_even(ratio_2 * 2**right)"),) for sign in ("", "-")),
    ),
    (
        None,
        None,
        "left_shift",
        tuple((("left_shift", form),) for form in ("20", "15", "8", "7", "20 + shift", "15 + shift")),
    ),
    # 3 * 4096 times the scale, cut to 15 bits; the shift is the least that gives a multiplier above 2**14.
    (_CURVES, "scaled", "multiplier", ((("multiplier", "floor(float64(input_scale * 4096 * 3) * 2**right)"),),)),
    (_CURVES, "scaled", "right", ((("right", "14 - floor_log2(float64(input_scale * 4096 * 3))"),),)),
    (_CURVES, "multiplied", "multiplier", ((("multiplier", "3 * 4096 * input_scale"),),)),
    (_CURVES, None, "radius", ((("radius", "floor(15 * 2**27 / 2**shift)"),),)),
    (_ROWS, None, "lowest", ((("lowest", "-floor(31 * 2**26 / 2**shift)"),),)),
)
#: Which scales the parts of an op multiply by.
_PARTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("PRELU", "if positive"): ("input",),
    ("PRELU", "if negative"): ("input", "slope"),
}
#: The bounds of activations, fused or as ops of their own.
_LOW = {"RELU": 0, "RELU6": 0, "RELU_0_TO_1": 0, "RELU_N1_TO_1": -1}
_HIGH = {"RELU6": 6, "RELU_0_TO_1": 1, "RELU_N1_TO_1": 1}


@dataclass(frozen=True, slots=True)
class Asked:
    """A number that a step uses.

    Attributes
    ----------
    stage
        The step, without the part of the op that it belongs to.
    part
        That part: ``"input 1"``, or empty.
    term
        What the step calls the number.
    whole
        That part, and those that it is in.

    """

    stage: str
    part: str
    term: str
    whole: str = ""


def chains(op: OpView, asked: Asked, scales: Sequence[str]) -> Iterator[Chain]:
    """Yield the chains that may lead to a number; ``scales`` are the names of the inputs that have one."""
    place = f"{asked.part}: {asked.stage}" if asked.part else asked.stage
    if asked.term == "multiplier":
        if op.name == "HARD_SWISH" and place in _HARD_SWISH:
            yield (("real multiplier", _HARD_SWISH[place]), *ENCODED_IN_16_BITS)
            return
        last = IN_256THS if asked.stage == "product" else ENCODED
        for form in real_multipliers(op, asked.part, scales, asked.whole):
            yield (("real multiplier", form), *last)
    elif asked.term in {"low", "high"} and asked.stage == "clamped":
        yield from _bounds(op, asked.term)
    for ops, stage, term, forms in _OTHERS:
        if term == asked.term and (ops is None or op.name in ops) and stage in {None, asked.stage}:
            yield from forms


def real_multipliers(op: OpView, part: str, scales: Sequence[str], whole: str = "") -> Iterator[str]:
    """Yield the formulas of a real multiplier; an op's part takes that input's scale first."""
    if op.name in {"LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"}:
        yield from _of_cells(whole)
        return
    if op.name in _OWN:
        yield from _OWN[op.name]
        return
    if op.name in _TRIPLES:
        for a, b, result in _TRIPLES[op.name]:
            yield from _filled(_TWO, (a, b), result)
        return
    if (op.name, part) in _PARTS:
        names = _PARTS[op.name, part]
        yield from _filled(_TWO if len(names) > 1 else _ONE, (names[0], names[-1]))
        return
    own = part.replace(" ", "_")
    for names in permutations(scales, 2):
        if own in scales and names[0] == own:
            yield from _filled(_OF_AN_INPUT, names)
        elif own not in scales:
            yield from _filled((*_TWO, *_OF_THE_SUM), names)
    for name in scales:
        if own in {name, ""} or own not in scales:
            yield from _filled(_ONE, (name, name))


def _of_cells(whole: str) -> Iterator[str]:
    """Yield the formulas of an integer LSTM: what enters a gate's function has the scale 2**-12."""
    gate = re.search(r"(\w+) gate: from the (input|output state)", whole)
    if gate is None:
        yield "float32(float64(2**-30 / hidden_scale))"
    elif gate[2] == "input":
        yield f"float32(float32(input_to_{gate[1]}_weights_scale * input_scale) / 2**-12)"
    else:
        yield f"float32(float32(recurrent_to_{gate[1]}_weights_scale * output_state_scale) / 2**-12)"


def _filled(forms: Sequence[str], names: Sequence[str], result: str = "output") -> Iterator[str]:
    for form in forms:
        yield form.format(a=f"{names[0]}_scale", b=f"{names[1]}_scale", result=f"{result}_scale")


def activation_of(op: OpView) -> str:
    """Return the name of an op's activation: its own, or the one that is fused to it; empty if it has none."""
    if op.name in _LOW:
        return op.name
    fused = op.options.get("fused_activation_function")
    return next((member.name for member in Activation if member.value == fused), "")


def _bounds(op: OpView, term: str) -> Iterator[Chain]:
    """Yield the code of an activation's bound: rounded, then moved by the zero point, or the other way round."""
    bound = (_LOW if term == "low" else _HIGH).get(activation_of(op))
    if bound is None:
        return
    inner = "max(type_low, {})" if term == "low" else "min(type_high, {})"
    for form in (
        f"half_away(float32({bound} / output_scale)) + zero_point",
        f"half_even(clamp(float32(float32({bound} / output_scale) + zero_point), type_low, type_high))",
        f"half_away({bound} / output_scale) + zero_point",
    ):
        yield ((term, inner.format(form)),)
        yield ((term, form),)
