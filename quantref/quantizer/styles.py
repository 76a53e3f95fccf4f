"""The three styles: whose rules a model is quantized by. They share pieces, never decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from qmath.errors import InputError, UnsupportedError
from qmath.types import DType
from quantref.quantizer.feasibility import Ranges, why_float, without_unknown
from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.layout import Layout
from quantref.quantizer.request import ACTIVATIONS, Mode, Request
from quantref.quantizer.style_aeq import AEQSettings, lay_out_aeq
from quantref.quantizer.style_quantref import QuantrefSettings, lay_out_quantref
from quantref.quantizer.style_tflite import lay_out_int8, unused_results
from quantref.quantizer.style_tflite_old import OldSettings, lay_out_old
from quantref.quantizer.style_trained import TrainedSettings, lay_out_trained
from quantref.quantizer.style_weights import (
    aeq_weight_rules,
    lay_out_float16,
    lay_out_weights,
    quantref_weight_rules,
    tflite_dynamic,
    tflite_old_dynamic,
)


class Style(Protocol):
    """Whose rules a model is quantized by."""

    @property
    def name(self) -> str:
        """How callers call it."""

    @property
    def strict(self) -> bool:
        """Whether an operator that stays float is an error where falling back was not allowed."""

    @property
    def faults(self) -> bool:
        """Whether models are written that no runtime runs, or that compute something else than meant."""

    def lay_out(self, graph: FloatGraph, request: Request) -> Layout:
        """Decide on a model.

        Raises
        ------
        InputError, UnsupportedError
            The style does not have what is asked.

        """


@dataclass(frozen=True, slots=True)
class TFLiteStyle:
    """TFLiteConverter of TensorFlow 2.21.

    Attributes
    ----------
    per_channel, per_channel_dense
        Whether weights, and those of FULLY_CONNECTED, have a scale a channel; without are its
        ``_experimental_disable_per_channel`` and ``..._quantization_for_dense_layers``.
    new_quantizer
        Without is its ``experimental_new_quantizer=False``; 16x8 always goes through the older one.
    integer_where_unread
        Whether an op with a result that nothing reads becomes integer; the converter decides that by chance.
    faults
        Whether to write models too that no runtime runs, as the converter does.

    """

    per_channel: bool = True
    per_channel_dense: bool = True
    new_quantizer: bool = True
    integer_where_unread: bool = True
    faults: bool = False
    name: str = "tflite"
    strict: bool = False

    def lay_out(self, graph: FloatGraph, request: Request) -> Layout:
        """Decide on a model as the converter does."""
        if request.weights_dtype is not DType.INT8:
            raise InputError("style tflite: expected 8 bits of weights, found 4")
        if request.mode is Mode.DYNAMIC:
            rules = tflite_dynamic(per_channel=self.per_channel) if self.new_quantizer else tflite_old_dynamic()
            return lay_out_weights(graph, rules, request.keep_float)
        if request.mode is Mode.FLOAT16:
            return lay_out_float16(graph, request.keep_float, states=True)
        if request.mode in ACTIVATIONS:
            return self._integer(graph, request)
        raise _no_mode(self, request.mode)

    def _integer(self, graph: FloatGraph, request: Request) -> Layout:
        if request.mode is Mode.INT16X8:
            return self._old(graph, request, DType.INT16)
        if request.mode is Mode.UINT8 or request.trained or request.ranges is None:
            return _trained(graph, request, symmetric_weights=False)
        return self._int8(graph, request) if self.new_quantizer else self._old(graph, request, DType.INT8)

    def _int8(self, graph: FloatGraph, request: Request) -> Layout:
        def keep_float(op: int) -> str | None:
            unread = None if self.integer_where_unread else unused_results(graph, op)
            return unread or request.keep_float(op)

        return lay_out_int8(
            graph,
            request.needed_ranges(),
            input_type=request.input_type or DType.FLOAT32,
            output_type=request.output_type or DType.FLOAT32,
            keep_float=keep_float,
            per_channel=self.per_channel,
            per_channel_dense=self.per_channel_dense,
        )

    def _old(self, graph: FloatGraph, request: Request, dtype: DType) -> Layout:
        settings = OldSettings(
            dtype=dtype,
            bias_dtype=request.bias_dtype if dtype is DType.INT16 else DType.INT32,
            input_type=request.input_type or DType.FLOAT32,
            output_type=request.output_type or DType.FLOAT32,
            per_channel=self.per_channel,
            per_channel_dense=self.per_channel_dense,
        )
        return lay_out_old(graph, request.needed_ranges(), settings, request.keep_float)


@dataclass(frozen=True, slots=True)
class AEQStyle:
    """AI Edge Quantizer 0.10 with its standard recipes; inputs and outputs are integer unless float32 is asked for.

    Attributes
    ----------
    faults
        Whether to write models too that compute something else than meant, as the tool does.

    """

    faults: bool = False
    name: str = "aeq"
    strict: bool = False

    def lay_out(self, graph: FloatGraph, request: Request) -> Layout:
        """Decide on a model as the tool does."""
        match request.mode:
            case Mode.DYNAMIC | Mode.INT4 | Mode.WEIGHT_ONLY:
                rules = aeq_weight_rules(request.weights_dtype, weight_only=request.mode is Mode.WEIGHT_ONLY)
                return lay_out_weights(graph, rules, request.keep_float)
            case Mode.FLOAT16:
                return lay_out_float16(graph, request.keep_float, only_weights=True)
            case Mode.INT8 | Mode.INT16X8:
                return self._static(graph, request)
        raise _no_mode(self, request.mode)

    def _static(self, graph: FloatGraph, request: Request) -> Layout:
        if request.bias_bits == 32 and request.mode is Mode.INT16X8:
            raise InputError("style aeq: expected biases of 64 bits in 16x8 models, found 32")
        dtype = ACTIVATIONS[request.mode]
        for asked in (request.input_type, request.output_type):
            if asked not in {None, DType.FLOAT32, dtype}:
                raise InputError(f"style aeq: expected float32 or {dtype.name.lower()} at the boundary, found {asked}")
        settings = AEQSettings(
            dtype=dtype,
            weights_dtype=request.weights_dtype,
            float_inputs=request.input_type is DType.FLOAT32,
            float_outputs=request.output_type is DType.FLOAT32,
        )
        return lay_out_aeq(graph, request.needed_ranges(), settings, request.keep_float)


@dataclass(frozen=True, slots=True)
class QuantrefStyle:
    """The quantization spec, without the converters' bugs; operators may have modes of their own.

    Attributes
    ----------
    per_channel
        Whether weights have a scale a channel.
    corrects_bias
        Whether biases make up for the mean error of rounded weights, where statistics know the means
        (:mod:`quantref.quantizer.bias_correction`).

    """

    per_channel: bool = True
    corrects_bias: bool = True
    faults: bool = False
    name: str = "quantref"
    strict: bool = True

    def lay_out(self, graph: FloatGraph, request: Request) -> Layout:
        """Decide on a model; weights of operators in modes without integer activations are quantized on top."""
        if request.mode is Mode.UINT8:
            return _trained(graph, request, symmetric_weights=True)
        layout = self._integer(graph, request)
        for mode in (Mode.DYNAMIC, Mode.INT4, Mode.WEIGHT_ONLY, Mode.FLOAT16):
            ops = [op for op in range(len(graph.operators)) if request.op_modes.get(op, request.mode) is mode]
            if ops:
                _add(layout, self._weights(graph, request, mode, frozenset(ops)), frozenset(ops))
        return layout

    def _weights(self, graph: FloatGraph, request: Request, mode: Mode, ops: frozenset[int]) -> Layout:
        def keep_float(op: int) -> str | None:
            return request.keep_float(op) if op in ops else "it is quantized otherwise"

        if mode is Mode.FLOAT16:
            return lay_out_float16(graph, keep_float)
        dtype = DType.INT4 if mode is Mode.INT4 else request.weights_dtype
        rules = quantref_weight_rules(dtype, weight_only=mode is Mode.WEIGHT_ONLY, per_channel=self.per_channel)
        return lay_out_weights(graph, rules, keep_float)

    def _integer(self, graph: FloatGraph, request: Request) -> Layout:
        op_dtypes: dict[int, DType] = {}
        reasons: dict[int, str] = {}
        for op in range(len(graph.operators)):
            dtype = ACTIVATIONS.get(request.op_modes.get(op, request.mode))
            reason = request.keep_float(op) or (None if dtype is None else why_float(graph, op, dtype))
            if reason is not None:
                reasons[op] = reason
            elif dtype is not None:
                op_dtypes[op] = dtype
        if not op_dtypes:
            return Layout(reasons=reasons)
        if request.ranges is None and not request.trained:
            request.needed_ranges()
        ranges = Ranges(graph, request.ranges or {}, request.trained)
        op_dtypes, unknown = without_unknown(graph, op_dtypes, ranges)
        settings = QuantrefSettings(
            op_dtypes=op_dtypes,
            ranges=ranges,
            reasons=reasons | unknown,
            input_type=request.input_type or DType.FLOAT32,
            output_type=request.output_type or DType.FLOAT32,
            weights_dtype=request.weights_dtype,
            bias_dtype=request.bias_dtype,
            per_channel=self.per_channel,
            means=request.means if self.corrects_bias else {},
        )
        return lay_out_quantref(graph, settings)


STYLES: Mapping[str, type[QuantrefStyle] | type[TFLiteStyle] | type[AEQStyle]] = MappingProxyType(
    {"quantref": QuantrefStyle, "tflite": TFLiteStyle, "aeq": AEQStyle}
)


def style_named(style: str | Style, *, faults: bool = False) -> Style:
    """Return a style by name; a style is returned as it is.

    Parameters
    ----------
    style
        The name, or the style.
    faults
        Whether a style by name writes models too that no runtime runs.

    Raises
    ------
    InputError
        There is no such style.

    """
    if not isinstance(style, str):
        return style
    if style not in STYLES:
        raise InputError(f"expected a style among {', '.join(STYLES)}, found {style!r}")
    return STYLES[style](faults=faults)


def _trained(graph: FloatGraph, request: Request, *, symmetric_weights: bool) -> Layout:
    given = request.trained or request.input_stats or request.default_range is not None
    if not given:
        request.needed_ranges()
        raise InputError(
            f"mode {request.mode.value}: expected ranges from training, input_stats or default_ranges; "
            "statistics are for int8 and 16x8"
        )
    settings = TrainedSettings(
        dtype=ACTIVATIONS[request.mode],
        trained=request.trained,
        input_stats=request.input_stats,
        default_range=request.default_range,
        input_type=request.input_type or DType.FLOAT32,
        output_type=request.output_type or DType.FLOAT32,
        symmetric_weights=symmetric_weights,
    )
    return lay_out_trained(graph, settings, request.keep_float)


def _no_mode(style: Style, mode: Mode) -> UnsupportedError:
    return UnsupportedError(f"style {style.name} has no mode {mode.value}")


def _add(layout: Layout, other: Layout, ops: frozenset[int]) -> None:
    """Take what another layout says of some operators into a layout."""
    layout.reads |= {use: form for use, form in other.reads.items() if use.op in ops}
    layout.options |= {op: options for op, options in other.options.items() if op in ops}
    layout.reasons |= {op: reason for op, reason in other.reasons.items() if op in ops}
