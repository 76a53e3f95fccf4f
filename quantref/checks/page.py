"""The page of the rules and of the spec, ``docs/check.md``; ``docs/generate.py`` writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quantref.checks.finding import Severity
from quantref.checks.rule import ALL, LITERT, MICRO, XNNPACK, Effect, Rule
from quantref.checks.rules import FAMILIES
from quantref.spec import (
    SCHEMES,
    BiasScale,
    FixedOutput,
    Granularity,
    Operand,
    OpSpec,
    PowerOfTwo,
    Relation,
    Role,
    SameScale,
    ZeroPoint,
)

_INTRODUCTION = """\
# Does a model keep to the spec?
<!-- Written by docs/generate.py from quantref.checks and quantref.spec. -->

`quantref check` holds a model against the 8-bit quantization specification of LiteRT, against its counterpart with
int16 activations and int8 weights (16x8), and against what each runtime takes. Nothing is run. All findings come at
once, in the order of the model, each with what was expected, what was found, which runtimes mind, and how to mend it.

```sh
quantref check quantref/data/digits_int8.tflite
quantref check quantref/data/digits_int16x8.tflite --severity warning --runtime litert-reference --runtime tflm
quantref check quantref/data/digits_int16x8.tflite --runtime cmsis-nn  # exits with 1: it lacks an op in this form
quantref check quantref/data/digits_int8.tflite --json --sarif findings.sarif
quantref check --rules
```

```python
import quantref as qr

found = qr.check("quantref/data/digits_int8.tflite")
assert not found.errors
for finding in found:
    print(finding.severity.word, finding.rule.id, finding.location, finding.expected, finding.found)
```

It exits with 0 if no finding is as bad as `--severity` says (error, unless told otherwise), with 1 if one is, with 2 if
a file cannot be read. With `--runtime` it tells what those runtimes mind and nothing else, and what one of them refuses
is an error. `--ignore` leaves out a rule, by id or name. `--sarif` writes the findings in the format of code scanners.

| severity | means |
|---|---|
"""
_SEVERITIES = {
    Severity.ERROR: "no runtime runs it, or what it computes is not what its parameters say",
    Severity.WARNING: "it runs, but not everywhere, or part of it does nothing, or some input makes it go wrong",
    Severity.NOTE: "good to know; the model runs and means what it says",
}
_ABOUT_BOUNDS = """\
The bounds of accumulators are proven, not sampled: each weight is taken times the code of the input's type that makes
the product largest, and times the one that makes it smallest; the sums of these, plus the bias, are reached by some
input and never passed. In a transposed convolution only the taps that meet in one output are summed.
"""
_ABOUT_SPEC = """\
## The spec

The tables that models are held against, as [`quantref/spec`](../quantref/spec/tables.py) has them: for each op its
operands with their types; *per axis* with the dimension that scales may run along; *zero point 0* where nothing else is
taken; *narrow* where the lowest code is left out. Where an op is not in the public specification, the Prepare functions
of LiteRT's kernels decide.
"""


def rules_page() -> str:
    """Return the page in Markdown."""
    lines = [_INTRODUCTION.rstrip()]
    lines += [f"| {severity.word} | {words} |" for severity, words in _SEVERITIES.items()]
    lines += [
        "",
        "| effect | means |",
        "|---|---|",
        *(f"| {effect.name.lower()} | {effect.value} |" for effect in Effect),
    ]
    lines += ["", "## The rules", "", _ABOUT_BOUNDS]
    for title, module in FAMILIES:
        lines += [f"### {title}", "", "| rule | severity, effect | what is wrong, and why | minded by | to mend it |"]
        lines += ["|---|---|---|---|---|", *map(_row, sorted(module.RULES, key=lambda rule: rule.id)), ""]
    lines += [_ABOUT_SPEC, *_spec()]
    return "\n".join(lines)


def _row(rule: Rule) -> str:
    why = f"{rule.title}. {rule.reason} Source: {rule.source}."
    names = f"{rule.id} `{rule.slug}`"
    cells = (names, f"{rule.severity.word}, {rule.effect.name.lower()}", why, in_short(rule.runtimes), rule.mend)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"


def in_short(runtimes: Sequence[str]) -> str:
    """Return names of runtimes, in families where all of one mind."""
    left, words = set(runtimes), []
    families = ((ALL, "all"), (LITERT, "LiteRT"), (MICRO, "TFLite Micro"), (XNNPACK, "XNNPACK"))
    for family, name in families:
        if set(family) <= left:
            words.append(name)
            left -= set(family)
    return ", ".join([*words, *(name for name in runtimes if name in left)]) or "none in particular"


def _spec() -> Iterator[str]:
    for scheme, table in SCHEMES.items():
        yield f"### {scheme.value}"
        yield ""
        yield "| ops | inputs | outputs | and | source |"
        yield "|---|---|---|---|---|"
        alike: dict[tuple[str, ...], list[str]] = {}
        for name, spec in table.items():
            alike.setdefault(_cells(spec), []).append(name)
        for cells, names in alike.items():
            yield f"| {', '.join(names)} | " + " | ".join(cell.replace("*", "\\*") for cell in cells) + " |"
        yield ""


def _cells(spec: OpSpec) -> tuple[str, ...]:
    inputs, outputs = ("; ".join(dict.fromkeys(map(_operand, operands))) for operands in (spec.inputs, spec.outputs))
    relations = "; ".join(map(_relation, spec.relations))
    return inputs, outputs, relations, spec.source


def _operand(operand: Operand) -> str:
    if operand.role is Role.ARGUMENT:
        return "an argument" if operand.name == "argument" else f"{operand.name}: not quantized"
    words = [f"{operand.name}: {' or '.join(dtype.name.lower() for dtype in operand.dtypes)}"]
    if operand.granularity is Granularity.EITHER:
        words.append(f"per axis {operand.axis}")
    if operand.zero_point is ZeroPoint.ZERO:
        words.append("zero point 0")
    if operand.narrow:
        words.append("narrow")
    if operand.optional:
        words.append("optional")
    return ", ".join(words)


def _relation(relation: Relation) -> str:
    if isinstance(relation, BiasScale):
        return "bias scale = input scale times weight scale"
    if isinstance(relation, SameScale):
        return "same scale and zero point" + (", demanded" if relation.demanded else "")
    if isinstance(relation, PowerOfTwo):
        return "the scale of the cell state is a power of two"
    if isinstance(relation, FixedOutput):
        params = " or ".join(
            f"{dtype.name.lower()}: scale 1/{1 / scale:g}, zero point {zero}" for dtype, scale, zero in relation.params
        )
        return f"output {params}" + (", demanded" if relation.demanded else "")
    return ""
