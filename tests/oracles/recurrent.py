"""The integer LSTM with 16-bit gates by loops over Python integers: slow, and literal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tests.oracles.fixed import Fixed, logistic, tanh
from tests.oracles.rational import double_rounding, half_away, saturate, wrap

Row = Sequence[int]
Factor = tuple[int, int]


@dataclass(frozen=True)
class Gate:
    """A gate's weights, one row a cell, its biases, and its two factors."""

    weights: Sequence[Row]
    recurrent: Sequence[Row]
    bias: Row
    from_input: Factor
    from_output: Factor


@dataclass(frozen=True)
class Cell:
    """A cell: its gates ``"input"`` (or none), ``"forget"``, ``"cell"`` and ``"output"``, zero points and factors."""

    gates: dict[str, Gate]
    input_zero: int
    output_zero: int
    hidden_zero: int
    cell_bits: int
    hidden: Factor
    clip: int = 0
    projection: Sequence[Row] = field(default=())
    projection_bias: Row = field(default=())
    project: Factor = (0, 0)


def step(x: Row, output: Row, cell: Row, lstm: Cell) -> tuple[list[int], list[int]]:
    """Do one step of one sequence: the new output state and cell state."""
    activations = [_cell(x, output, cell, lstm, place) for place in range(len(cell))]
    new_cell, hidden = [list(column) for column in zip(*activations, strict=True)]
    if not lstm.projection:
        return [saturate(code + lstm.hidden_zero, 8) for code in hidden], new_cell
    # The runtime stores hidden codes with the zero point negated, and takes it off as if it were not.
    codes = [saturate(code - lstm.hidden_zero, 8) + lstm.hidden_zero for code in hidden]
    outputs = []
    for row, bias in zip(lstm.projection, lstm.projection_bias, strict=True):
        total = wrap(bias + sum(a * b for a, b in zip(row, codes, strict=True)))
        outputs.append(saturate(double_rounding(total, *lstm.project) + lstm.output_zero, 8))
    return outputs, new_cell


def _cell(x: Row, output: Row, cell: Row, lstm: Cell, place: int) -> tuple[int, int]:
    """Return the new state of one cell, and its output before any zero point."""

    def before(name: str) -> Fixed:
        gate = lstm.gates[name]
        first = _sum(gate.weights[place], x, lstm.input_zero) + gate.bias[place]
        second = _sum(gate.recurrent[place], output, lstm.output_zero)
        scaled = saturate(double_rounding(wrap(first), *gate.from_input), 16)
        return Fixed(saturate(scaled + double_rounding(wrap(second), *gate.from_output), 16), 3, 16)

    forget = logistic(before("forget")).raw
    let_in = logistic(before("input")).raw if "input" in lstm.gates else 32767 - forget
    update = tanh(before("cell")).raw
    kept = half_away(Fraction(forget * cell[place], 1 << 15))
    added = wrap(half_away(Fraction(let_in * update, 1 << (15 + lstm.cell_bits))), 16)
    state = saturate(kept + added, 16)
    if lstm.clip:
        state = max(-lstm.clip, min(lstm.clip, state))
    opened = logistic(before("output")).raw * tanh(Fixed(state, lstm.cell_bits, 16)).raw
    return state, double_rounding(opened, *lstm.hidden)


def _sum(weights: Row, codes: Row, zero_point: int) -> int:
    return sum(weight * (code - zero_point) for weight, code in zip(weights, codes, strict=True))
