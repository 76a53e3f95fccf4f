"""Which types TFLite Micro's kernels take."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import fbs
from kernels.engine import micro
from kernels.engine.types import OpView
from kernels.profiles import TFLM
from qmath.types import DType
from quantref.checks.versions import MICRO_OPS


def test_types_are_listed_of_ops_that_it_has() -> None:
    assert set(micro.TYPES) <= set(TFLM.ops or ())
    assert TFLM.ops == MICRO_OPS
    assert {name for listed in micro.TYPES.values() for name in listed.split()} <= {t.name.lower() for t in DType}


def micro_view(name: str, inputs: Sequence[DType | None], output: DType) -> OpView:
    """View an op of the given types."""
    builder = fbs.Builder()

    def tensor(number: int, dtype: DType) -> int:
        scale = 0.5 if dtype.is_integer and dtype.bits < 32 else None
        return builder.input(f"x{number}", dtype, (1, 2, 2, 4), **({} if scale is None else {"scale": scale}))

    given = [None if dtype is None else tensor(number, dtype) for number, dtype in enumerate(inputs)]
    y = builder.tensor("y", output, (1, 2, 2, 4))
    builder.op(name, given, [y])
    return fbs.view(builder.finish([y]).subgraphs[0], 0)


@pytest.mark.parametrize(
    ("name", "inputs", "output", "message"),
    [
        ("EXP", [DType.INT8], DType.INT8, "TFLite Micro has no EXP of int8"),
        ("SQRT", [DType.INT16], DType.INT16, "TFLite Micro has no SQRT of int16"),
        ("GATHER", [DType.INT16, DType.INT32], DType.INT16, "TFLite Micro has no GATHER of int16"),
        ("REDUCE_MAX", [DType.INT16, DType.INT32], DType.INT16, "TFLite Micro has no REDUCE_MAX of int16"),
        ("SPLIT", [DType.INT32, DType.UINT8], DType.UINT8, "TFLite Micro has no SPLIT of uint8"),
        ("CAST", [DType.FLOAT32], DType.BOOL, "TFLite Micro has no CAST of float32 to bool"),
        ("QUANTIZE", [DType.FLOAT32], DType.UINT8, "TFLite Micro has no QUANTIZE of float32 to uint8"),
        ("QUANTIZE", [DType.INT8], DType.INT32, None),
        ("CAST", [DType.BOOL], DType.INT8, None),
        ("ABS", [DType.INT16], DType.INT16, None),
        ("REVERSE_V2", [DType.UINT8, DType.INT32], DType.UINT8, None),
    ],
)
def test_types_that_it_has(name: str, inputs: list[DType | None], output: DType, message: str | None) -> None:
    assert micro.refused_type(micro_view(name, inputs, output)) == message


@pytest.mark.parametrize(
    ("name", "activations", "weights", "taken"),
    [
        ("FULLY_CONNECTED", DType.INT8, DType.INT4, True),
        ("FULLY_CONNECTED", DType.INT8, DType.INT2, False),
        ("FULLY_CONNECTED", DType.INT16, DType.INT16, False),
        ("CONV_2D", DType.INT16, DType.INT4, False),
        ("BATCH_MATMUL", DType.INT16, DType.INT8, False),
        ("BATCH_MATMUL", DType.INT16, DType.INT16, True),
    ],
)
def test_weights_that_go_with_activations(name: str, activations: DType, weights: DType, taken: bool) -> None:
    why = micro.sums(micro_view(name, [activations, weights], activations))
    assert (why is None) == taken, why
