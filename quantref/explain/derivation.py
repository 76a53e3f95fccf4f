"""How the numbers that steps use follow from the scales of the op's tensors: found by trying what kernels do.

A formula is shown only if it gives the very number that the op was prepared with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from kernels.engine.types import OpView, TensorView
from qmath.errors import SpecError
from quantref.explain.chains import Asked, Chain, chains, real_multipliers
from quantref.explain.explanation import Scalar, Step
from quantref.formulas import Number, exact, parse, plain_number
from quantref.roles import INDICES, role

#: Ops whose per-axis scales lie along an axis of the output; of others they lie along its channels, the last axis.
_ELEMENT_BY_ELEMENT = frozenset({"QUANTIZE", "DEQUANTIZE"})
#: Shifts of a multiplier; of one so small that it becomes 0; of one whose significand rounds up to 1.
_SHIFTS = (
    "floor_log2(real_multiplier) + 1",
    "0 if floor_log2(real_multiplier) + 1 < -31 else floor_log2(real_multiplier) + 1",
    "floor_log2(real_multiplier / (1 - 2**-32)) + 1",
)
#: Entries of the tables of SOFTMAX and LOG_SOFTMAX: in float32, and in units of 1/65535.
_POWER = "float32(exp(float32(float32(-input_scale * {beta}) * difference)))"
_POWERS = (
    *(_POWER.format(beta=beta) for beta in ("beta", "1")),
    f"min(floor(float32({_POWER.format(beta='beta')} * 65535) + 0.5), 65535)",
)
#: What is behind the name of a stage that happens again.
_TIME = re.compile(r" \d+$")
#: Numbers that others follow from.
_FIRST = {"right": 0, "multiplier": 1}
#: Remarks on steps that have no formula of their own.
_REMARKS = {
    "is_in_block": "is_in_block: 1 where vector code runs, in whole blocks; what is left over runs one by one",
    "far": "far: what no code reaches",
    "half": "half: 0.5 with the sign of steps; in_group: 1 in whole groups of 8, where vector code runs",
    "left_shift": "left_shift: bits that the op adds for precision",
}


@dataclass(frozen=True, slots=True)
class Scales:
    """The scales of an op's tensors for one element, by names such as ``input_scale``.

    Attributes
    ----------
    inputs
        Roles of the inputs that have a scale.
    terms
        All scales; options that are real numbers; the output's zero point, and the ends of its type.

    """

    inputs: tuple[str, ...]
    terms: Mapping[str, Number]

    @classmethod
    def of(cls, op: OpView, at: Sequence[int], output: int = 0) -> Scales:
        """Read the scales of an op; biases and other wide integers are left out."""
        found: dict[str, Number] = {}
        for slot, tensor in enumerate(op.inputs):
            if tensor is not None and tensor.dtype not in INDICES:
                scale = _scale(op, tensor, at)
                if scale is not None:
                    found[role(op, slot)] = scale
        terms = {f"{name}_scale": scale for name, scale in found.items()}
        terms |= {name: Fraction(value) for name, value in op.options.items() if isinstance(value, float)}
        if op.intermediates and op.intermediates[-1].quant is not None:
            terms["hidden_scale"] = Fraction(float(op.intermediates[-1].quant.scale[0]))
        y = op.outputs[output]
        scale = _scale(op, y, at)
        if scale is not None and y.quant is not None and y.dtype.is_integer:
            channel = channel_of(op, y, at)
            ends = {"zero_point": int(y.quant.zero_point[channel]), "type_low": y.dtype.min, "type_high": y.dtype.max}
            terms |= {"output_scale": scale, **{name: Fraction(value) for name, value in ends.items()}}
        return cls(tuple(found), terms)


def channel_of(op: OpView, tensor: TensorView, at: Sequence[int]) -> int:
    """Return which scale of a tensor an element of the output has to do with."""
    if tensor.quant is None or not tensor.quant.per_axis:
        return 0
    axis = tensor.quant.quantized_dimension
    along = at[axis] if op.name in _ELEMENT_BY_ELEMENT and axis < len(at) else at[-1] if at else 0
    return min(along, tensor.quant.scale.size - 1)


def _scale(op: OpView, tensor: TensorView, at: Sequence[int]) -> Number | None:
    if tensor.quant is None:
        return None
    value = float(tensor.quant.scale[channel_of(op, tensor, at)])
    return Fraction(value) if np.isfinite(value) else None


# --- Steps that have no rule --------------------------------------------------------------------------------------


def explained(op: OpView, scales: Scales, steps: Sequence[Step]) -> list[Step]:
    """Return steps, those with formulas for what the kernel was prepared with that had none."""
    found: list[Step] = []
    for step in steps:
        name = _name(step.stage)
        if step.rule or isinstance(step.value, str) or not name.startswith(("real multiplier", "shift", "power")):
            found.append(step)
            continue
        if name.startswith("real multiplier"):
            found.append(_first(step, real_multipliers(op, _part(step.stage), scales.inputs), scales.terms))
            continue
        known = _values(found, _part(step.stage).removesuffix("undivided")) | _values(found, _part(step.stage))
        if name.split(" ")[0] == "shift" and "real_multiplier" in known:
            found.append(_first(step, _SHIFTS, known))
        elif name == "power" and "difference" in known:
            found.append(_first(step, _POWERS, {**scales.terms, **known}))
        else:
            found.append(step)
    return found


def _first(step: Step, rules: Iterable[str], terms: Mapping[str, Number]) -> Step:
    """Return a step with the first rule that gives its value; without one if none does."""
    for rule in rules:
        derived = _calculated(step.stage, rule, terms)
        if derived is not None and derived.value == step.value:
            return replace(derived, value=step.value)
    return step


def _calculated(stage: str, rule: str, terms: Mapping[str, Number]) -> Step | None:
    formula = parse(rule)
    try:
        value, numbers = formula.value(terms), formula.with_numbers(terms)
    except SpecError:
        return None
    used = {name: plain_number(terms[name]) for name in formula.names if name in terms}
    return Step(stage, plain_number(value), rule, numbers, terms=used)


# --- Numbers that steps use ---------------------------------------------------------------------------------------


def introduced(op: OpView, scales: Scales, steps: Sequence[Step]) -> list[Step]:
    """Return the steps that lead from the scales to numbers that ``steps`` use, and that none of them gives."""
    given = {step.stage for step in steps}
    found: dict[str, Step] = {}
    uses = [(step, term) for step in steps for term in step.terms if _placed(_part(step.stage), term) not in given]
    for step, term in sorted(uses, key=lambda use: _FIRST.get(use[1], len(_FIRST))):
        part = _part(step.stage)
        environment = {**scales.terms, **_values(list(found.values()), part)}
        for chain in chains(op, Asked(_name(step.stage), _own(part), term, part), scales.inputs):
            new = _followed(chain, environment, part)
            if new and new[-1].value == step.terms[term] and _shifts_as(new, steps, step):
                for derived in new:
                    found.setdefault(derived.stage, derived)
                break
    return list(found.values())


def _followed(chain: Chain, terms: Mapping[str, Number], part: str) -> list[Step]:
    """Return the steps of a chain; none if one of them cannot be calculated."""
    steps: list[Step] = []
    environment = dict(terms)
    for name, rule in chain:
        step = _calculated(_placed(part, name), rule, environment)
        if step is None:
            return []
        steps.append(step)
        environment[name.replace(" ", "_")] = _exact(step)
    return steps


def _shifts_as(chain: Sequence[Step], steps: Sequence[Step], asking: Step) -> bool:
    """Whether the shift of a chain, if it has one, is what the part of a step shifts by, in one or two steps."""
    shift = next((s.value for s in chain if _name(s.stage) == "shift" and isinstance(s.value, int)), None)
    if shift is not None and "shift" in asking.terms:
        return shift == asking.terms["shift"]
    part, time = _part(asking.stage), _TIME.findall(asking.stage)
    same = (
        step
        for step in steps
        if _part(step.stage) == part and _name(step.stage).startswith("shifted") and _TIME.findall(step.stage) == time
    )
    used = {term: value for step in same for term, value in step.terms.items() if isinstance(value, int)}
    if shift is None or not {"left", "right", "left_shift"} & set(used):
        return True
    left, right, raised = (used.get(term, 0) for term in ("left", "right", "left_shift"))
    # A shift to the right may be left out by shifting less to the left before; one bit of a shift may come later.
    before = [raised - bits for bits in (15, 20) if "left_shift" in used]
    return shift in {left - right, left + 1, *before} or right == 15 - shift or right == 31 - shift


def remarked(step: Step) -> Step:
    """Say what a number means that no formula gives."""
    said = [text for term, text in _REMARKS.items() if term in step.terms and term not in step.stage]
    return replace(step, remark="; ".join([*([step.remark] if step.remark else []), *said])) if said else step


def _values(steps: Sequence[Step], part: str) -> dict[str, Number]:
    """Return what steps of a part gave, by name with low lines; the last of a name counts."""
    return {
        _TIME.sub("", _name(step.stage)).replace(" ", "_"): _exact(step)
        for step in steps
        if _part(step.stage) == part and _is_number(step.value)
    }


def _exact(step: Step) -> Number:
    """Return the value of a step that is a number."""
    return exact(float("nan") if isinstance(step.value, str) else step.value)


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _name(stage: str) -> str:
    return stage.rpartition(": ")[2]


def _part(stage: str) -> str:
    return stage.rpartition(": ")[0]


def _own(part: str) -> str:
    """Return the innermost part that a stage belongs to."""
    return part.rpartition(": ")[2]


def _placed(part: str, name: str) -> str:
    return f"{part}: {name}" if part else name
