"""The two arithmetics of TFLiteConverter's quantizer: float32 scales after calibration, float64 after training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from qmath.types import Array, DType, Float32Array
from quantref.quantizer.bias import bias_scale, float64_bias, tflite_bias
from quantref.quantizer.params import Params
from quantref.quantizer.weights import (
    float64_codes,
    symmetric_weights,
    symmetric_weights_float64,
    tflite_codes,
    tflite_constant,
    trained_constant,
)


class Arithmetic(Protocol):
    """How constants and biases get parameters and codes."""

    @property
    def dtype(self) -> DType:
        """Type of activations' codes."""

    @property
    def guards_bias(self) -> bool:
        """Whether weight scales are widened where a bias would not fit."""

    def weights(self, values: Float32Array, axis: int | None) -> Params:
        """Return the parameters of weights, per-tensor or per-axis."""

    def constant(self, values: Float32Array) -> Params:
        """Return the parameters of another constant."""

    def bias(self, source: Params, weights: Params) -> Params:
        """Return the parameters of a bias from those of the input and the weights."""

    def codes(self, values: Float32Array, params: Params) -> Array:
        """Return the codes of any constant; those of a bias are INT32."""


@dataclass(frozen=True, slots=True)
class CalibratedArithmetic:
    """Scales are float32: full integer quantization of a calibrated model, int8."""

    dtype: DType = DType.INT8
    guards_bias: bool = True

    def weights(self, values: Float32Array, axis: int | None) -> Params:
        """Return symmetric parameters, ``max |w| / 127``."""
        return symmetric_weights(values, axis)

    def constant(self, values: Float32Array) -> Params:
        """Return asymmetric parameters from the constant's range."""
        return tflite_constant(values)

    def bias(self, source: Params, weights: Params) -> Params:
        """Return the float32 product of the scales."""
        return bias_scale(source, weights, DType.INT32)

    def codes(self, values: Float32Array, params: Params) -> Array:
        """Return codes rounded in float32."""
        return tflite_bias(values, params) if params.dtype is DType.INT32 else tflite_codes(values, params)


@dataclass(frozen=True, slots=True)
class TrainedArithmetic:
    """Scales stay float64 until they are stored: quantization-aware training, uint8 and int8 models with given ranges.

    Attributes
    ----------
    dtype
        INT8, or UINT8, whose weights have one asymmetric scale.

    """

    dtype: DType = DType.INT8
    guards_bias: bool = True

    def weights(self, values: Float32Array, axis: int | None) -> Params:
        """Return symmetric parameters for int8, asymmetric ones for uint8."""
        if self.dtype is DType.UINT8:
            return trained_constant(values, self.dtype, narrow=True)
        return symmetric_weights_float64(values, axis)

    def constant(self, values: Float32Array) -> Params:
        """Return asymmetric parameters from the constant's range."""
        return trained_constant(values, self.dtype, narrow=False)

    def bias(self, source: Params, weights: Params) -> Params:
        """Return the product of the unrounded scales."""
        return bias_scale(source, weights, DType.INT32, float32=False)

    def codes(self, values: Float32Array, params: Params) -> Array:
        """Return codes rounded in float64."""
        return float64_bias(values, params) if params.dtype is DType.INT32 else float64_codes(values, params)
