"""NumericVerify: how far codes are from the floats that they stand for, in models made for debugging quantization.

The converter's quantization debugger puts one of these custom ops behind each quantized op, beside its float twin.

Quirk: NumericVerify gives float32 whatever type the file declares for its output.

Source: ``tflite/kernels/numeric_verify.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.engine.contract import expect, expect_count, expect_dtype, input_tensor
from kernels.engine.flexbuffers import scalars
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, TensorView, given
from kernels.profiles import Profile
from kernels.quantize import prepare_dequantize
from qmath.errors import ModelError
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array

#: Below this tolerance the runtime prints statistics and goes on, whatever the options say.
LEAST_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class NumericVerify(Prepared):
    """A prepared NumericVerify.

    Attributes
    ----------
    dequantize
        From the codes to real values, as DEQUANTIZE does it.
    limit
        Largest difference that the runtime lets pass, or None.

    """

    dequantize: Prepared
    limit: Float32Array | None

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`numeric_verify`."""
        return (numeric_verify(given(inputs, 0), given(inputs, 1), self, note),)


def numeric_verify(x: Array, reference: Float32Array, op: NumericVerify, note: Note = silent) -> Float32Array:
    """Subtract the floats from what the codes stand for.

    Parameters
    ----------
    x
        int8, uint8, int16 or float16: what was quantized.
    reference
        float32, as many elements: what it should be.
    op
        The prepared op.
    note
        Receives the stages.

    Raises
    ------
    ModelError
        The sizes differ, or the runtime was told to stop at differences as large as one that was found.

    Notes
    -----
    1. real: DEQUANTIZE of the codes.
    2. difference: real minus reference, in float32.

    For instance, code 7 with scale 0.5 and zero point 1 stands for 3.0; beside the float 2.75 it gives 0.25.

    """
    expect(x.size == reference.size, f"as many floats as codes ({x.size}), found {reference.size}")
    (real,) = op.dequantize.evaluate((x,), note)
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.asarray(real - reference.reshape(real.shape))
        note("difference", found, "real - reference", real=real, reference=reference)
        if op.limit is not None and (np.abs(found) > op.limit).any():
            raise ModelError(f"expected differences up to {op.limit}, found {np.abs(found).max()}: the runtime stops")
    return found


@dataclass(frozen=True, slots=True)
class _Dequantizing:
    """The DEQUANTIZE inside: an op of the codes alone."""

    inputs: Sequence[TensorView | None]
    outputs: Sequence[TensorView]
    version: int
    name: str = "DEQUANTIZE"
    intermediates: Sequence[TensorView] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    custom_options: bytes = b""


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of NumericVerify.

    Raises
    ------
    ModelError
        The op breaks its contract.

    """
    expect_count(op, {2})
    x, reference = input_tensor(op, 0), input_tensor(op, 1)
    expect_dtype(x, DType.UINT8, DType.INT8, DType.INT16, DType.FLOAT16)
    expect_dtype(reference, DType.FLOAT32)
    options = scalars(op.custom_options)
    tolerance = np.float32(options.get("tolerance", 0.0))
    stops = bool(options.get("log_if_failed", False)) and bool(tolerance >= LEAST_TOLERANCE)
    scale = np.float32(0 if x.quant is None else x.quant.scale[0])
    return NumericVerify(
        prepare_dequantize(_Dequantizing((x,), (reference,), op.version), profile),
        np.asarray(tolerance * scale) if stops else None,
    )


KERNELS = (Kernel("NumericVerify", prepare, covers=("int8, uint8, int16 and float16 against float32",)),)
