"""LSTM: one step of a long short-term memory.

The *full* kernel has 20 or 24 inputs (see ``lstm_tensors.py``), the *basic* one five (``lstm_basic.py``).

Source: ``tflite/kernels/lstm.cc``, ``tflite/kernels/lstm_eval.cc``.
"""

from __future__ import annotations

from kernels.engine.contract import expect_count, expect_rank, input_tensor, option, output_tensor, unsupported
from kernels.engine.registry import Kernel
from kernels.engine.sequences import Order
from kernels.engine.types import OpView, Prepared
from kernels.lstm_basic import COVERS as BASIC_COVERS
from kernels.lstm_basic import prepare_basic
from kernels.lstm_float_prepare import WEIGHTS, prepare_float, types_of
from kernels.lstm_integer_prepare import TYPES, prepare_integer
from kernels.lstm_narrow_prepare import INTERMEDIATES, prepare_narrow
from kernels.lstm_tensors import INPUT, SLOTS, Gate, Slots, check_layout
from kernels.profiles import Profile
from qmath.types import DType

NARROW_COVERS = "int8 x int8 with int8 sums and int16 cell state"
#: The option ``kernel_type`` of the basic kernel.
BASIC = 1
COVERS = ("int8 x int8 with int16 cell state", "float32 x int8 or uint8 (hybrid)", "float32")


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of LSTM and prepare its cell.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    if option(op, "kernel_type") == BASIC:
        return prepare_basic(op, profile)
    expect_count(op, {20, 24})
    expect_rank(input_tensor(op, INPUT), 2)
    return prepare_cell(op, SLOTS, Order.SINGLE, profile)


def prepare_cell(op: OpView, slots: Slots, order: Order, profile: Profile) -> Prepared:
    """Prepare one direction by the types of its tensors.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    x, weights = input_tensor(op, INPUT), input_tensor(op, slots.weights + Gate.OUTPUT)
    types = (x.dtype, weights.dtype, output_tensor(op).dtype)
    if types == (DType.INT8, DType.INT8, DType.INT8):
        narrow = order is Order.SINGLE and len(op.intermediates) == INTERMEDIATES
        layout = check_layout(op, slots, x.shape[-1], TYPES)
        return (prepare_narrow if narrow else prepare_integer)(op, slots, layout, order, profile)
    if (x.dtype, output_tensor(op).dtype) == (DType.FLOAT32, DType.FLOAT32) and weights.dtype in WEIGHTS:
        return prepare_float(op, slots, check_layout(op, slots, x.shape[-1], types_of(weights.dtype)), order, profile)
    raise unsupported(op, "; ".join(COVERS))


KERNELS = (Kernel("LSTM", prepare, covers=(*COVERS, NARROW_COVERS, *BASIC_COVERS)),)
