"""UNIDIRECTIONAL_SEQUENCE_RNN: a plain recurrent network that steps through a sequence.

The input is (batch, time, features), or (time, batch, features) where ``time_major`` says so; the output has one
vector of units a step. ``rnn.py`` describes the cell.

Source: ``tflite/kernels/unidirectional_sequence_rnn.cc``.
"""

from __future__ import annotations

from kernels.engine.contract import expect_count, expect_rank, input_tensor, option
from kernels.engine.registry import Kernel
from kernels.engine.sequences import Order
from kernels.engine.types import OpView
from kernels.profiles import Profile
from kernels.rnn import COVERS, INPUT, INPUTS, Cell, Slots, prepare_cell


def prepare(op: OpView, profile: Profile) -> Cell:
    """Check the contract of UNIDIRECTIONAL_SEQUENCE_RNN and prepare its cell.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {INPUTS})
    expect_rank(input_tensor(op, INPUT), 3)
    return prepare_cell(op, Slots(), Order.TIME_MAJOR if option(op, "time_major") else Order.BATCH_MAJOR, profile)


KERNELS = (Kernel("UNIDIRECTIONAL_SEQUENCE_RNN", prepare, covers=COVERS),)
