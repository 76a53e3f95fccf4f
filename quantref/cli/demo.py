"""``quantref demo``: the main job on bundled data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quantref.cli.common import common_options, console, example, print_json, progress

if TYPE_CHECKING:
    from rich.text import Text

    from quantref.demo import DemoResult

#: Ink from none to full, for terminals that have blocks and for those that do not.
_BLOCKS, _LETTERS = " ░▒▓█", " .:*#"
#: Columns that one image takes.
_COLUMNS = 18


@click.command("demo", epilog=example("demo", "demo --json"))
@common_options
def command(*, as_json: bool) -> int:
    """Quantize a small network in every mode, read handwritten digits with it, and compare with LiteRT.

    Works offline, on data that comes with the package. Exits with 1 if a tensor differs from the runtime's.
    """
    from quantref.demo import demo  # noqa: PLC0415 - keeps --help quick

    with progress("quantizing and comparing with LiteRT") as report:
        result = demo(report)
    if as_json:
        print_json(result.to_json())
    else:
        show(result)
    return 0 if result.equal else 1


def show(result: DemoResult) -> None:
    """Print some digits, the table of the models, and how they compare with the runtime."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    out = console()
    shades = _BLOCKS if out.encoding.startswith("utf") else _LETTERS
    out.print(_gallery(result, min(8, out.width // _COLUMNS), shades))
    headings, rows = result.rows()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in headings:
        table.add_column(name, justify="left" if name in {"model", "differ"} else "right")
    for model, cells in zip(result.models, rows, strict=True):
        compared = model.failure or model.compared is not None
        style = ("green" if model.equal else "bold red") if compared else "yellow"
        table.add_row(*map(Text, cells[:-1]), Text(cells[-1], style=style))
    out.print(table)
    out.print()
    out.print("SQNR is that of the probabilities, scores that of what the SOFTMAX makes them of; differ: elements.")
    colour = "yellow" if result.unavailable else "bold green" if result.equal else "bold red"
    out.print(Text(result.outcome, style=colour), soft_wrap=True)


def _gallery(result: DemoResult, count: int, shades: str) -> Text:
    """Draw the first test images and those that the int8 model reads wrongly, with what it reads."""
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    model = result.model("int8")
    wrong = [n for n in range(model.images) if model.predictions[n] != result.labels[n]]
    chosen = [*range(count - min(len(wrong), 2)), *wrong[:2]]
    lines = Text()
    for row in range(result.images.shape[1]):
        drawn = ("".join(shades[int(level) * 4 // 16] * 2 for level in result.images[n, row]) for n in chosen)
        lines.append("  ".join(drawn) + "\n")
    for n in chosen:
        right = model.predictions[n] == result.labels[n]
        remark = "" if right else f", is {result.labels[n]}"
        label = f"{model.predictions[n]} ({100 * model.confidence[n]:.0f} %){remark}"
        lines.append(f"{label:<{_COLUMNS}}", style="green" if right else "red")
    return lines.append("\n")
