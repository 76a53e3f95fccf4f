"""UNIDIRECTIONAL_SEQUENCE_LSTM: an LSTM that steps through a sequence.

The input is (batch, time, features), or (time, batch, features) where ``time_major`` says so; the output has one
vector of outputs a step. ``lstm_tensors.py`` describes the cell, the files beside it compute it.

Source: ``tflite/kernels/unidirectional_sequence_lstm.cc``, ``tflite/kernels/lstm_eval.cc``.
"""

from __future__ import annotations

from kernels.engine.contract import expect_count, expect_rank, input_tensor, option
from kernels.engine.registry import Kernel
from kernels.engine.sequences import Order
from kernels.engine.types import OpView, Prepared
from kernels.lstm import COVERS, prepare_cell
from kernels.lstm_micro import BIASES, HABITS, prepare_micro
from kernels.lstm_tensors import INPUT, SLOTS
from kernels.profiles import Profile


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of UNIDIRECTIONAL_SEQUENCE_LSTM and prepare its cell.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {20, 24})
    expect_rank(input_tensor(op, INPUT), 3)
    order = Order.TIME_MAJOR if option(op, "time_major") else Order.BATCH_MAJOR
    x, habits = input_tensor(op, INPUT), HABITS[profile]
    if habits is not None and x.dtype in BIASES:
        return prepare_micro(op, SLOTS, order, habits)
    return prepare_cell(op, SLOTS, order, profile)


MICRO_COVERS = "int16 x int8 with int16 cell state (TFLite Micro)"

KERNELS = (Kernel("UNIDIRECTIONAL_SEQUENCE_LSTM", prepare, covers=(*COVERS, MICRO_COVERS)),)
