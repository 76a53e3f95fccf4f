"""What an explanation says, section by section."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING

from quantref.explain.explanation import Alternative, Element, Product, Step, Sum, number
from quantref.explain.render import Section, Table

if TYPE_CHECKING:
    from quantref.explain.document import Explanation

#: Rows of a sum, and elements, that are shown whole; of more, some at either end.
SHOWN, AT_EITHER_END = 10, 4
#: Columns of a line that holds a step.
WIDE = 100
#: The steps from a real multiplier to what the kernel multiplies by.
_MULTIPLIER = frozenset(
    {"real multiplier", "more bits", "factor", "shift", "significand", "multiplier", "reduced multiplier"}
)
_NO_BREAK = "\N{NO-BREAK SPACE}"
#: A step's name: the part of the op, what it is there, and which time.
_NAME = re.compile(r"((?:.*: )?)(.*?)( \d+)?")


def sections(explained: Explanation) -> list[Section]:
    """Return the sections of an explanation, those without content left out."""
    return list(_sections(explained))


def _sections(explained: Explanation) -> Iterator[Section]:
    options = (f"options: {explained.options}",) if explained.options else ()
    yield Section("The op", tuple(line for option in options for line in wrap(option, WIDE)), _operands(explained))
    if explained.sum:
        yield _sum(explained.sum)
    if explained.inner:
        yield replace(_sum(explained.inner), title=f"What is summed before, to {explained.inner.stage}")
    if explained.sources:
        yield _sources(explained.sources)
    multiplier = _of_multipliers(explained.steps)
    if explained.constants or multiplier:
        steps = (*explained.constants, *multiplier)
        yield Section("From scales to multipliers", tuple(line for step in steps for line in step_lines(step)))
    shown = {summed.stage for summed in (explained.sum, explained.inner) if summed}
    rest = [step for step in explained.steps if step not in multiplier and step.stage not in shown]
    if rest:
        yield Section("Step by step", tuple(line for step in rest for line in step_lines(step)))
    yield Section("In real numbers", tuple(_real_numbers(explained)))
    if explained.regimes:
        yield _alternatives("The same accumulator under every rounding", "rounding", explained.regimes)
    if len(explained.profiles) > 1:
        yield _alternatives("The same inputs under every profile", "profile", explained.profiles)


def _of_multipliers(steps: Sequence[Step]) -> list[Step]:
    """Return the steps from real multipliers to what the kernel multiplies by."""
    named = [(step, _named(step)) for step in steps]
    real = {(part, time) for _, (part, name, time) in named if name == "real multiplier"}
    parts = {part for part, _ in real}
    return [
        step
        for step, (part, name, time) in named
        if name in _MULTIPLIER and ((part, time) in real or part.removesuffix("undivided: ") in parts)
    ]


def _named(step: Step) -> tuple[str, str, str]:
    part, name, time = _NAME.fullmatch(step.stage).groups("")  # type: ignore[union-attr]
    return part, name, time


def _operands(explained: Explanation) -> Table:
    rows = tuple(
        (operand.role, operand.dtype, str(list(operand.shape)), operand.quantization, operand.tensor)
        for operand in explained.operands
    )
    return Table(("", "type", "shape", "scale, zero point", "tensor"), rows)


# --- Sums and sources ---------------------------------------------------------------------------------------------


def _sum(summed: Sum) -> Section:
    products = summed.products
    rows = [_product_row(product) for product in products]
    if len(rows) > SHOWN:
        middle = products[AT_EITHER_END:-AT_EITHER_END]
        empty = ("",) * (len(rows[0]) - 2)
        between = (f"... {len(middle)} more ...", *empty, _total(middle) if summed.fold == "sum" else "")
        rows = [*rows[:AT_EITHER_END], between, *rows[-AT_EITHER_END:]]
    kind = "product" if products and len(products[0].factors) == 2 else "element"
    count = f"{len(products)} {kind}{'' if len(products) == 1 else 's'}"
    padding = f"; {summed.padding} more lie in the padding and contribute nothing" if summed.padding else ""
    what = "sum" if summed.fold == "sum" else "largest"
    name = "" if summed.stage == what else f"{summed.stage}: "
    line = f"{name}{what} of {count} {'=' if summed.exact else '~'} {number(summed.value)}{padding}"
    title = "What is summed" if summed.fold == "sum" else "What the largest is chosen of"
    return Section(title, (line,), Table(_product_head(products), tuple(rows)) if rows else None)


def _total(products: Iterable[Product]) -> str:
    return number(sum(product.value for product in products if not isinstance(product.value, str)))


def _product_head(products: Sequence[Product]) -> tuple[str, ...]:
    if not products:
        return ()
    head: list[str] = []
    for factor, offset in zip(products[0].factors, products[0].offsets, strict=True):
        head += [factor.role, "value>", *([f"less {offset}>"] if offset else [])]
    return (*head, "product>") if len(products[0].factors) == 2 else tuple(head)


def _product_row(product: Product) -> tuple[str, ...]:
    cells: list[str] = []
    for factor, offset in zip(product.factors, product.offsets, strict=True):
        cells += [str(list(factor.index)), number(factor.value)]
        if offset and not isinstance(factor.value, str):
            cells.append(number(factor.value - offset))
    return (*cells, number(product.value)) if len(product.factors) == 2 else tuple(cells)


def _sources(sources: Sequence[Element]) -> Section:
    rows: list[tuple[str, ...]] = []
    for tensor in dict.fromkeys(source.tensor for source in sources):
        of_tensor = [source for source in sources if source.tensor == tensor]
        listed = [_source_row(source) for source in of_tensor]
        if len(listed) > SHOWN:
            between = (f"... {len(listed) - 2 * AT_EITHER_END} more ...", "", "", "")
            listed = [*listed[:AT_EITHER_END], between, *listed[-AT_EITHER_END:]]
        rows += listed
    return Section("Where it comes from", table=Table(("element", "value>", "zero point>", "real value>"), tuple(rows)))


def _source_row(source: Element) -> tuple[str, ...]:
    zero_point = "" if source.zero_point is None else str(source.zero_point)
    real = "" if source.scale is None or source.real is None else number(source.real)
    return source.place, number(source.value), zero_point, real


# --- Steps --------------------------------------------------------------------------------------------------------


def step_lines(step: Step) -> list[str]:
    """Return a step as lines: its name, the rule, the numbers, the value; bits and remark below."""
    equals = "~" if step.approximate else "="
    value = number(step.value)
    if step.stage == "multiplier" and isinstance(step.value, int):
        value += f" (0x{step.value & 0xFFFFFFFF:08X})"
    rule = f"= {step.rule}" if step.rule not in {"", value} else ""
    parts = [part for part in (rule, _numbers(step), f"{equals} {value}") if part]
    indent = " " * (len(step.stage) + 1)
    whole = " ".join([step.stage, *parts])
    lines = [whole] if len(whole) <= WIDE else _broken(step.stage, parts)
    if step.remark:
        lines.append(f"{indent}  {step.remark}")
    if step.bits:
        lines.append(f"{indent}  {step.bits}")
    return lines


def _broken(stage: str, parts: Sequence[str]) -> list[str]:
    """Return a line for each part; of a part that is too long for one, the rest is set in."""
    indent, room = " " * (len(stage) + 1), max(WIDE - len(stage), WIDE // 2)
    lines: list[str] = []
    for part in parts:
        # The sign of equality stays with what follows it.
        joined = part[0] + _NO_BREAK + part[2:]
        first, *rest = wrap(joined, room, break_long_words=False, break_on_hyphens=False)
        lines += [
            f"{indent if lines else f'{stage} '}{first.replace(_NO_BREAK, ' ')}",
            *(f"{indent}    {line}" for line in rest),
        ]
    return lines


def _numbers(step: Step) -> str:
    return f"= {step.numbers}" if step.numbers and step.numbers != number(step.value) else ""


# --- Real numbers and other arithmetics -----------------------------------------------------------------------------


def _real_numbers(explained: Explanation) -> Iterator[str]:
    output = explained.output
    if output.real is not None and output.scale is not None:
        yield (
            f"code {output.value} stands for scale * (code - zero_point)"
            f" = {number(output.scale)} * ({output.value} - {output.zero_point}) = {number(output.real)}"
        )
    elif output.real is not None:
        yield f"the value is {number(output.real)}"
    if explained.unrounded is not None and output.scale is not None:
        real = explained.unrounded * output.scale
        steps = number(explained.unrounded)
        yield f"without rounding: accumulator * real_multiplier = {steps} steps, that is {number(real)}"
    if explained.float_value is not None:
        value = explained.float_value.value
        known = (
            f"the float model gives {number(value)}" if value is not None else "the float model's value is not known"
        )
        yield known + (f" ({explained.float_value.remark})" if explained.float_value.remark else "")


def _alternatives(title: str, what: str, found: Sequence[Alternative]) -> Section:
    """Return a table; or one sentence where all of them give the same."""
    used = [alternative for alternative in found if alternative.used]
    others = [alternative.name for alternative in found if not alternative.used]
    if len(used) == 1 and len({alternative.value for alternative in found}) == 1:
        remark = f" ({used[0].remark})" if used[0].remark else ""
        line = f"{used[0].name}{remark} gives {number(used[0].value or 0)}; so do {', '.join(others)}"
        return Section(title, tuple(wrap(line, WIDE)))
    rows = tuple(
        (
            "->" if alternative.used else "",
            alternative.name,
            "-" if alternative.value is None else number(alternative.value),
            alternative.remark,
        )
        for alternative in found
    )
    return Section(title, table=Table(("", what, "gives>", ""), rows))
