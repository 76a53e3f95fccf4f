"""Post-training quantization: a float model and statistics in, a quantized model out.

The stages: admit the model, decide on a layout in a style, rewrite the graph. Deciding alone is a plan.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import fbs
from qmath.calibration import observer_named
from qmath.errors import InputError, UnsupportedError
from qmath.types import DType, Float64Array
from quantref.interpreter import ModelSource, load
from quantref.quantizer.admission import admit
from quantref.quantizer.fake_quant_ranges import TrainedModel
from quantref.quantizer.faults import find_faults
from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.layout import Layout
from quantref.quantizer.plan import QuantizationPlan, plan_of
from quantref.quantizer.recipe import Recipe
from quantref.quantizer.request import ACTIVATIONS, Mode, Request, mode_named, type_named
from quantref.quantizer.rewrite import rewrite
from quantref.quantizer.statistics import Range, Statistics, observed_tensors
from quantref.quantizer.styles import QuantrefStyle, Style, style_named

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from quantref.quantizer.representative import RepresentativeDataset

#: Called with the number of samples done and of all, None if that is not known.
Progress = Callable[[int, "int | None"], None]


def quantize(  # noqa: PLR0913 - what a caller can ask for
    model: ModelSource,
    *,
    mode: str | Mode,
    style: str | Style = "quantref",
    statistics: Statistics | None = None,
    representative_dataset: RepresentativeDataset | None = None,
    input_type: str | DType | None = None,
    output_type: str | DType | None = None,
    fallback: bool | None = None,
    recipe: Recipe | str | os.PathLike[str] | None = None,
    input_stats: tuple[float, float] | Sequence[tuple[float, float]] = (),
    default_ranges: tuple[float, float] | None = None,
    weight_bits: int = 8,
    bias_bits: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> fbs.Model:
    """Quantize a float model.

    Parameters
    ----------
    model
        A path, the bytes of a file, or a model: float32, or with FAKE_QUANT ops or float16 constants.
    mode
        ``"float32"`` (not at all), ``"dynamic"``, ``"int4"``, ``"weight-only"``, ``"float16"``, ``"int8"``, ``"16x8"``
        or ``"uint8"``; see :class:`Mode`.
    style
        ``"quantref"``: the quantization spec. ``"tflite"``, ``"aeq"``: identical with TFLiteConverter or AI Edge
        Quantizer; their further settings are in :class:`TFLiteStyle` and :class:`AEQStyle`.
    statistics
        Ranges of activations, for ``int8`` and ``16x8``.
    representative_dataset
        Data to make statistics from instead, by the style's calibration.
    input_type, output_type
        ``"float32"``, ``"int8"``, ``"uint8"`` (beside int8) or ``"int16"`` (in 16x8). By default float32; style aeq
        gives integers.
    fallback
        Whether operators that cannot be integer may stay float. By default they may if inputs and outputs are
        float. Style quantref, and 16x8 in style tflite, refuse the model otherwise; style tflite for int8, and style
        aeq, only if this is ``False``.
    recipe
        Rules for single operators, or the path of a TOML file with them.
    input_stats
        ``(mean, std)`` of a float input's codes, ``real * std + mean``, or one such pair an input: for ``uint8``, and
        ``int8`` without statistics.
    default_ranges
        ``(min, max)`` for activations of which nothing is known, likewise.
    weight_bits
        8 or 4, where kernels take that.
    bias_bits
        Of 16x8 models: 64 (default) or 32.
    executor, progress
        For calibration on the data, see :func:`quantref.quantizer.calibration.calibrate`.

    Returns
    -------
    The quantized model. Names of inputs and outputs, signatures and open dimensions are those of the float model.

    Raises
    ------
    InputError
        Arguments that do not fit together, or no statistics where they are needed.
    UnsupportedError
        The model is quantized already; operators cannot be integer (all are listed, with the reason); or the style's
        tool would write a model that no runtime runs.
    ModelError
        The model is damaged.

    """
    decided = decide(
        model,
        Arguments(
            mode=mode_named(mode),
            style=style_named(style),
            statistics=statistics,
            representative_dataset=representative_dataset,
            input_type=input_type,
            output_type=output_type,
            fallback=fallback,
            recipe=recipe,
            input_stats=input_stats,
            default_ranges=default_ranges,
            weight_bits=weight_bits,
            bias_bits=bias_bits,
            executor=executor,
            progress=progress,
        ),
    )
    return decided.quantized()


def plan(  # noqa: PLR0913 - what a caller can ask for
    model: ModelSource,
    *,
    mode: str | Mode,
    style: str | Style = "quantref",
    statistics: Statistics | None = None,
    representative_dataset: RepresentativeDataset | None = None,
    input_type: str | DType | None = None,
    output_type: str | DType | None = None,
    recipe: Recipe | str | os.PathLike[str] | None = None,
    input_stats: tuple[float, float] | Sequence[tuple[float, float]] = (),
    default_ranges: tuple[float, float] | None = None,
    weight_bits: int = 8,
) -> QuantizationPlan:
    """Say what :func:`quantize` would make of each operator, and why; nothing is refused for want of an integer form.

    For modes that need statistics, but none are given, every activation is taken to have a range.
    """
    arguments = Arguments(
        mode=mode_named(mode),
        style=style_named(style),
        statistics=statistics,
        representative_dataset=representative_dataset,
        input_type=input_type,
        output_type=output_type,
        recipe=recipe,
        input_stats=input_stats,
        default_ranges=default_ranges,
        weight_bits=weight_bits,
        only_plan=True,
    )
    return decide(model, arguments).plan()


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of :func:`quantize` as they came."""

    mode: Mode
    style: Style
    statistics: Statistics | None = None
    representative_dataset: RepresentativeDataset | None = None
    input_type: str | DType | None = None
    output_type: str | DType | None = None
    fallback: bool | None = None
    recipe: Recipe | str | os.PathLike[str] | None = None
    input_stats: tuple[float, float] | Sequence[tuple[float, float]] = ()
    default_ranges: tuple[float, float] | None = None
    weight_bits: int = 8
    bias_bits: int | None = None
    executor: Executor | None = None
    progress: Progress | None = None
    #: Whether ranges may be made up, because only the plan is wanted.
    only_plan: bool = False


@dataclass(frozen=True, slots=True)
class Decided:
    """A model and what is to become of it.

    Attributes
    ----------
    model
        The float model as it was admitted.
    style, request
        What was asked.
    layouts
        By subgraph: what was decided.

    """

    model: fbs.Model
    style: Style
    request: Request
    layouts: Mapping[int, Layout]

    def plan(self) -> QuantizationPlan:
        """Say what becomes of each operator."""
        graph = FloatGraph(self.model)
        return plan_of(graph, self.layouts.get(0, Layout()), self.request.mode.value, self.style.name)

    def quantized(self) -> fbs.Model:
        """Return the quantized model.

        Raises
        ------
        UnsupportedError
            Operators would stay float where that is not wanted, or no runtime would run the model.

        """
        self._refuse_float()
        quantized = rewrite(self.model, self.layouts)
        if not self.style.faults and 0 in self.layouts:
            self._refuse_faults(quantized)
        return quantized

    def _refuse_float(self) -> None:
        strict = self.style.strict or self.request.mode is Mode.INT16X8 or self.request.fallback is False
        if self.request.mode not in ACTIVATIONS or self.request.may_fall_back or not strict:
            return
        left = [op for op in self.plan().ops if not op.integer]
        if left:
            listed = "; ".join(f"op {op.index} ({op.op}) giving {op.output!r}: {op.reason}" for op in left)
            raise UnsupportedError(
                f"mode {self.request.mode.value}: expected operators that can all be integer, found "
                f"{len(left)} that cannot: {listed} (fallback=True leaves them float)"
            )

    def _refuse_faults(self, quantized: fbs.Model) -> None:
        faults = find_faults(FloatGraph(self.model), self.layouts[0], quantized.subgraphs[0])
        if not faults:
            return
        who = "the model" if isinstance(self.style, QuantrefStyle) else "its tool would write a model that"
        raise UnsupportedError(
            f"style {self.style.name}: {who} does not run, or not as meant: "
            f"{'; '.join(faults)} ({type(self.style).__name__}(faults=True) writes it all the same)"
        )


def decide(model: ModelSource, arguments: Arguments) -> Decided:
    """Decide on a model; raises what :func:`quantize` raises, other than for operators that stay float."""
    loaded = load(model)
    admitted = admit(loaded, arguments.mode)
    graph = FloatGraph(admitted.model)
    recipe = _recipe(arguments.recipe)
    recipe.check(graph)
    request = _request(arguments, loaded, admitted, graph, recipe)
    layouts: dict[int, Layout] = {}
    if request.mode is not Mode.FLOAT32 or request.op_modes:
        layouts[0] = arguments.style.lay_out(graph, request)
    if request.mode not in ACTIVATIONS and request.mode is not Mode.FLOAT32:
        for index in range(1, len(admitted.model.subgraphs)):
            layouts[index] = arguments.style.lay_out(FloatGraph(admitted.model, index), _plain(request))
    return Decided(admitted.model, arguments.style, request, layouts)


def _request(
    arguments: Arguments, loaded: fbs.Model, admitted: TrainedModel, graph: FloatGraph, recipe: Recipe
) -> Request:
    modes = {op: mode for op in range(len(graph.operators)) if (mode := recipe.mode(graph, op)) is not None}
    others = {mode for mode in modes.values() if mode is not Mode.FLOAT32}
    if others and arguments.style.name != "quantref":
        raise InputError(f"style {arguments.style.name}: expected rules of mode float32, found {others.pop().value}")
    if Mode.UINT8 in others or (others and arguments.mode is Mode.UINT8):
        raise InputError("expected rules of modes that go together, found uint8 beside others")
    kept = {op for op, mode in modes.items() if mode is Mode.FLOAT32}
    ranges, means = _known(arguments, loaded, graph, recipe)
    return Request(
        mode=arguments.mode,
        ranges=ranges,
        means=means,
        trained=admitted.ranges,
        input_type=_type(arguments.input_type),
        output_type=_type(arguments.output_type),
        fallback=arguments.fallback,
        keep_float=lambda op: "the recipe keeps it float" if op in kept else None,
        op_modes=modes,
        input_stats=_pairs(arguments.input_stats),
        default_range=arguments.default_ranges,
        weight_bits=arguments.weight_bits,
        bias_bits=arguments.bias_bits,
    )


def _plain(request: Request) -> Request:
    """Return what is asked of further subgraphs: the mode alone, for they have no statistics and no recipe."""
    return Request(mode=request.mode, weight_bits=request.weight_bits)


#: What statistics know, by tensor: ranges, or None if there are none at all; and means of channels.
_Known = tuple["dict[int, Range] | None", "dict[int, Float64Array]"]


def _known(arguments: Arguments, loaded: fbs.Model, graph: FloatGraph, recipe: Recipe) -> _Known:
    if arguments.statistics is not None and arguments.representative_dataset is not None:
        raise InputError("expected statistics or a representative dataset, found both")
    if arguments.statistics is not None:  # tensors keep their numbers
        return arguments.statistics.of(loaded), arguments.statistics.means_of(loaded)
    if arguments.representative_dataset is not None:
        return _calibrated(arguments, arguments.representative_dataset, graph, recipe)
    given = arguments.input_stats or arguments.default_ranges
    if arguments.only_plan and not given and arguments.mode in ACTIVATIONS and arguments.mode is not Mode.UINT8:
        return dict.fromkeys(observed_tensors(graph.subgraph), Range(-1, 1)), {}  # type: ignore[arg-type]
    return None, {}


def _calibrated(arguments: Arguments, data: RepresentativeDataset, graph: FloatGraph, recipe: Recipe) -> _Known:
    """Run the model over data, once for each observer that the recipe names."""
    from quantref.quantizer.calibration import calibrate  # noqa: PLC0415 - runs the interpreter, not needed otherwise

    def run(observer: str | None) -> Statistics:
        return calibrate(
            graph.model,
            data,
            observer=None if observer is None else observer_named(observer),
            style=arguments.style.name,
            executor=arguments.executor,
            progress=arguments.progress,
        )

    chosen = {tensor: recipe.observer(graph, tensor) for tensor in observed_tensors(graph.subgraph)}
    names = sorted({name for name in chosen.values() if name is not None})
    if names and isinstance(data, Iterator):
        raise InputError(
            "expected data that can be read once an observer, found a generator: give a list or a callable"
        )
    usual = run(None)
    found = usual.of(graph.model)
    for name in names:
        found |= {tensor: bounds for tensor, bounds in run(name).of(graph.model).items() if chosen[tensor] == name}
    return found, usual.means_of(graph.model)


def _recipe(recipe: Recipe | str | os.PathLike[str] | None) -> Recipe:
    if recipe is None:
        return Recipe()
    return recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)


def _type(name: str | DType | None) -> DType | None:
    return None if name is None else type_named(name)


def _pairs(
    given: tuple[float, float] | Sequence[tuple[float, float]],
) -> tuple[tuple[float, float], ...]:
    """Return ``(mean, std)`` pairs, from one or several."""
    if len(given) == 2 and not any(isinstance(number, Sequence) for number in given):
        given = [given]  # type: ignore[list-item]
    try:
        return tuple((float(mean), float(std)) for mean, std in given)  # type: ignore[misc]
    except (TypeError, ValueError):
        raise InputError(f"expected input_stats as (mean, std), or one such pair an input, found {given!r}") from None
