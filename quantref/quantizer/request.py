"""What a caller asks of quantization, checked and in one value."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qmath.errors import InputError
from qmath.types import DType, Float64Array
from quantref.quantizer.fake_quant_ranges import TrainedRange
from quantref.quantizer.statistics import Range
from quantref.quantizer.tflite_layout import KeepFloat


class Mode(enum.Enum):
    """How a model, or an operator, is quantized."""

    #: Not at all.
    FLOAT32 = "float32"
    #: int8 weights; activations are quantized while the model runs.
    DYNAMIC = "dynamic"
    #: The same with int4 weights.
    INT4 = "int4"
    #: int8 or int4 weights that are dequantized while the model runs.
    WEIGHT_ONLY = "weight-only"
    #: float16 constants.
    FLOAT16 = "float16"
    #: int8 activations and weights.
    INT8 = "int8"
    #: int16 activations, int8 weights.
    INT16X8 = "16x8"
    #: uint8 activations and weights, one scale a tensor.
    UINT8 = "uint8"


#: Modes with integer activations, and their type.
ACTIVATIONS: Mapping[Mode, DType] = {
    Mode.INT8: DType.INT8,
    Mode.INT16X8: DType.INT16,
    Mode.UINT8: DType.UINT8,
}
_TYPES_AT_BOUNDARY: Mapping[Mode, frozenset[DType]] = {
    Mode.INT8: frozenset({DType.FLOAT32, DType.INT8, DType.UINT8}),
    Mode.INT16X8: frozenset({DType.FLOAT32, DType.INT16}),
    Mode.UINT8: frozenset({DType.FLOAT32, DType.UINT8}),
}


def mode_named(name: str | Mode) -> Mode:
    """Return a mode by name.

    Raises
    ------
    InputError
        There is no such mode.

    """
    try:
        return Mode(name)
    except ValueError:
        known = ", ".join(mode.value for mode in Mode)
        raise InputError(f"expected a mode among {known}, found {name!r}") from None


def type_named(name: str | DType) -> DType:
    """Return the type of an input or output by name.

    Raises
    ------
    InputError
        It is not float32, int8, uint8 or int16.

    """
    dtype = name if isinstance(name, DType) else DType.__members__.get(str(name).upper())
    if dtype not in {DType.FLOAT32, DType.INT8, DType.UINT8, DType.INT16}:
        raise InputError(f"expected a type among float32, int8, uint8, int16, found {name!r}")
    return dtype


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes
    ----------
    mode
        Of the whole model.
    ranges
        Statistics, by tensor; None if there are none.
    means
        Of the channels of activations that weights are multiplied with, by tensor, as far as they are known.
    trained
        What training left in the model, by tensor.
    input_type, output_type
        Of the graph; None for what the style gives of itself.
    fallback
        Whether operators may stay float; None for yes unless inputs or outputs are integer.
    keep_float
        Says of an operator why it has to stay float, or None.
    op_modes
        Operators that are quantized in another mode than the model.
    input_stats
        ``(mean, std)`` for each float input: its codes are ``real * std + mean``.
    default_range
        For activations of which nothing is known.
    weight_bits
        8 or 4.
    bias_bits
        Of 16x8 models: 64 or 32; None for the style's own.

    """

    mode: Mode
    ranges: Mapping[int, Range] | None = None
    means: Mapping[int, Float64Array] = field(default_factory=dict)
    trained: Mapping[int, TrainedRange] = field(default_factory=dict)
    input_type: DType | None = None
    output_type: DType | None = None
    fallback: bool | None = None
    keep_float: KeepFloat = lambda _: None
    op_modes: Mapping[int, Mode] = field(default_factory=dict)
    input_stats: Sequence[tuple[float, float]] = ()
    default_range: tuple[float, float] | None = None
    weight_bits: int = 8
    bias_bits: int | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together.

        Raises
        ------
        InputError
            They do not.

        """
        allowed = _TYPES_AT_BOUNDARY.get(self.mode, frozenset({DType.FLOAT32}))
        for what, dtype in (("input_type", self.input_type), ("output_type", self.output_type)):
            if dtype is not None and dtype not in allowed:
                names = ", ".join(sorted(found.name.lower() for found in allowed))
                raise InputError(f"mode {self.mode.value}: expected {what} among {names}, found {dtype.name.lower()}")
        if self.weight_bits not in {8, 4}:
            raise InputError(f"expected weight_bits 8 or 4, found {self.weight_bits}")
        if self.bias_bits not in {None, 32, 64}:
            raise InputError(f"expected bias_bits 32 or 64, found {self.bias_bits}")
        if self.bias_bits == 64 and self.mode is not Mode.INT16X8:
            raise InputError(f"mode {self.mode.value}: expected biases of 32 bits, found 64")

    @property
    def may_fall_back(self) -> bool:
        """Whether operators may stay float."""
        if self.fallback is not None:
            return self.fallback
        return all(dtype in {None, DType.FLOAT32} for dtype in (self.input_type, self.output_type))

    @property
    def weights_dtype(self) -> DType:
        """Type of weights' codes."""
        return DType.INT4 if self.weight_bits == 4 or self.mode is Mode.INT4 else DType.INT8

    @property
    def bias_dtype(self) -> DType:
        """Type of biases' codes in 16x8 models."""
        return DType.INT32 if self.bias_bits == 32 else DType.INT64

    def needed_ranges(self) -> Mapping[int, Range]:
        """Return the statistics.

        Raises
        ------
        InputError
            There are none.

        """
        if self.ranges is None:
            raise InputError(f"mode {self.mode.value}: expected statistics or a representative dataset, found neither")
        return self.ranges
