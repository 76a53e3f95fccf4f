"""Hold qmath.fake_quant against TensorFlow's ops, and keep some of their outputs for the tests.

    tfvenv/bin/pip install 'tensorflow-cpu==2.21.*'
    tfvenv/bin/python -m tests.qmath.make_fake_quant_goldens                      # writes fake_quant.npz
    tfvenv/bin/python -m tests.qmath.make_fake_quant_goldens --compare 1000000    # values an output; writes nothing

TensorFlow runs on one thread: with more it splits long sums among them, in parts that depend on their number.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.python.training import moving_averages

from qmath import fake_quant as fq
from qmath.errors import InputError
from qmath.moving_average import move_average
from tests.qmath.fake_quant_cases import RANGES, Case, cases, long_terms, random_ranges

GOLDENS = Path(__file__).with_name("fake_quant.npz")
KINDS = ((2, False), (3, True), (4, True), (8, False), (8, True), (16, False))
ALL_KINDS = tuple((bits, narrow) for bits in range(2, 17) for narrow in (False, True))
SUMS = (1, 7, 8, 31, 32, 33, 100, 1000, 8191, 8192, 8193, 16385, 20001)
STEPS = 40
ONE = np.float32(1)
SEED = 0

Outputs = dict[str, np.ndarray]


def tensorflow_outputs(case: Case) -> Outputs:
    """Run the ops with one range; those whose range is an attribute refuse some."""
    kind = {"num_bits": case.bits, "narrow_range": case.narrow}
    found: Outputs = {}
    try:
        fixed = kind | {"min": float(case.low), "max": float(case.high)}
        found["args"] = tf.raw_ops.FakeQuantWithMinMaxArgs(inputs=case.x, **fixed).numpy()
        gradient = tf.raw_ops.FakeQuantWithMinMaxArgsGradient(gradients=case.g, inputs=case.x, **fixed)
        found["args_inputs"] = gradient.numpy()
    except tf.errors.InvalidArgumentError:
        pass
    bounds = kind | {"min": case.low, "max": case.high}
    found["vars"] = tf.raw_ops.FakeQuantWithMinMaxVars(inputs=case.x, **bounds).numpy()
    parts = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(gradients=case.g, inputs=case.x, **bounds)
    return found | _named("vars", [part.numpy() for part in parts])


def tensorflow_channels(columns: Sequence[Case]) -> Outputs:
    """Run the ops with a range a channel, on cases of one kind."""
    first = columns[0]
    x, g = (np.stack(arrays, axis=1) for arrays in zip(*((case.x, case.g) for case in columns), strict=True))
    low, high = (np.array(bounds) for bounds in zip(*((case.low, case.high) for case in columns), strict=True))
    given = {"inputs": x, "min": low, "max": high, "num_bits": first.bits, "narrow_range": first.narrow}
    output = tf.raw_ops.FakeQuantWithMinMaxVarsPerChannel(**given).numpy()
    parts = tf.raw_ops.FakeQuantWithMinMaxVarsPerChannelGradient(gradients=g, **given)
    return {"channels": output} | _named("channels", [part.numpy() for part in parts])


def outputs(case: Case) -> Outputs:
    """Return the same of :mod:`qmath.fake_quant`."""
    kind = (case.low, case.high, case.bits)
    found: Outputs = {}
    try:
        found["args"] = fq.fake_quant_args(case.x, *kind, narrow_range=case.narrow)
        found["args_inputs"] = fq.fake_quant_args_gradient(case.g, case.x, *kind, narrow_range=case.narrow)
    except InputError:
        pass
    found["vars"] = fq.fake_quant_vars(case.x, *kind, narrow_range=case.narrow)
    parts = fq.fake_quant_vars_gradient(case.g, case.x, *kind, narrow_range=case.narrow)
    return found | _named("vars", [parts.inputs, parts.minimum, parts.maximum])


def channels(columns: Sequence[Case]) -> Outputs:
    """Return the same as :func:`tensorflow_channels` of :mod:`qmath.fake_quant`."""
    first = columns[0]
    x, g = (np.stack(arrays, axis=1) for arrays in zip(*((case.x, case.g) for case in columns), strict=True))
    low, high = (np.array(bounds) for bounds in zip(*((case.low, case.high) for case in columns), strict=True))
    output = fq.fake_quant_per_channel(x, low, high, first.bits, narrow_range=first.narrow)
    parts = fq.fake_quant_per_channel_gradient(g, x, low, high, first.bits, narrow_range=first.narrow)
    return {"channels": output} | _named("channels", [parts.inputs, parts.minimum, parts.maximum])


def _named(op: str, parts: Sequence[np.ndarray]) -> Outputs:
    return {f"{op}_{part}": array for part, array in zip(("inputs", "minimum", "maximum"), parts, strict=True)}


def tensorflow_average(values: Sequence[np.ndarray], decay: float, *, zero_debias: bool) -> np.ndarray:
    """Return a moving average after each of the values."""
    graph, found = tf.Graph(), []
    with graph.as_default(), tf.compat.v1.Session() as session:
        average = tf.compat.v1.get_variable("average", initializer=np.zeros_like(values[0]), use_resource=True)
        value = tf.compat.v1.placeholder(tf.float32, values[0].shape)
        moved = moving_averages.assign_moving_average(average, value, decay, zero_debias=zero_debias)
        session.run(tf.compat.v1.global_variables_initializer())
        for given in values:
            session.run(moved, {value: given})
            found.append(session.run(average))
    return np.stack(found)


def compare(count: int, seed: int) -> int:
    """Print how many values of each output were compared, and how many bits differ; return the latter."""
    rng = np.random.default_rng(seed)
    tally: dict[str, list[int]] = {}
    while not tally or min(tally["vars"][0], tally["channels"][0], tally["args"][0]) < count:
        ranges = [*RANGES, *random_ranges(rng, 32)]
        drawn = list(cases(rng, ranges, ALL_KINDS, 300))
        for case in drawn:
            _count(tally, tensorflow_outputs(case), outputs(case))
        for columns in _columns(drawn, len(ranges)):
            _count(tally, tensorflow_channels(columns), channels(columns))
    _count(tally, *sums_of(range(1, 3000, 13)), *averages_of(rng.normal(size=(300, 8)).astype(np.float32)))
    for name, (values, bits) in sorted(tally.items()):
        _say(f"{name:18} {values:>10,} values compared, {bits} bits differ")
    different = sum(bits for _, bits in tally.values())
    _say(f"{'all':18} {sum(values for values, _ in tally.values()):>10,} values compared, {different} bits differ")
    return different


def sums_of(lengths: Sequence[int] | range) -> tuple[Outputs, Outputs]:
    """Return the gradients for bounds that are sums of many terms, of TensorFlow and of qmath."""
    theirs, ours = [], []
    for seed, length in enumerate(lengths):
        case = Case(low=-ONE, high=ONE, bits=8, narrow=True, x=long_terms(length, seed), g=long_terms(length, seed + 1))
        for found, values in ((theirs, tensorflow_outputs(case)), (ours, outputs(case))):
            found.append([values["vars_minimum"], values["vars_maximum"]])
    return {"long_sums": np.array(theirs)}, {"long_sums": np.array(ours)}


def averages_of(values: np.ndarray, decay: float = 0.99) -> tuple[Outputs, Outputs]:
    """Return moving averages, of TensorFlow and of qmath; those without bias are compared by the tests, not here."""
    ours = [np.zeros_like(values[0])]
    for value in values:
        ours.append(move_average(ours[-1], value, decay))
    theirs = tensorflow_average(list(values), decay, zero_debias=False)
    return {"average": theirs}, {"average": np.stack(ours[1:])}


def _columns(drawn: Sequence[Case], ranges: int) -> Iterator[Sequence[Case]]:
    for start in range(0, len(drawn), ranges):
        yield drawn[start : start + ranges]


def _count(tally: dict[str, list[int]], theirs: Outputs, ours: Outputs, *more: Outputs) -> None:
    if set(theirs) != set(ours):
        message = f"expected outputs {sorted(theirs)}, found {sorted(ours)}"
        raise ValueError(message)
    for name, expected in theirs.items():
        different = expected.view(np.uint32) ^ ours[name].view(np.uint32)
        entry = tally.setdefault(name, [0, 0])
        entry[0] += expected.size
        entry[1] += int(np.unpackbits(np.ascontiguousarray(different).reshape(-1).view(np.uint8)).sum())
    if more:
        _count(tally, *more)


def write() -> None:
    """Write the outputs that the tests compare with."""
    rng = np.random.default_rng(SEED)
    drawn = list(cases(rng, RANGES, KINDS, 32))
    found = [tensorflow_outputs(case) for case in drawn]
    nothing = np.zeros_like(drawn[0].x)
    arrays = {name: np.stack([given.get(name, nothing) for given in found]) for name in found[0]}
    arrays["args_refused"] = np.array(["args" not in given for given in found])
    for name in ("low", "high", "bits", "narrow", "x", "g"):
        arrays[f"case_{name}"] = np.stack([getattr(case, name) for case in drawn])
    per_channel = [tensorflow_channels(columns) for columns in _columns(drawn, len(RANGES))]
    arrays |= {name: np.stack([channel[name] for channel in per_channel]) for name in per_channel[0]}
    arrays["long_sums"] = sums_of(SUMS)[0]["long_sums"]
    arrays["long_sums_lengths"] = np.array(SUMS)
    values = rng.normal(size=(STEPS, 4)).astype(np.float32)
    arrays["average_values"] = values
    arrays["average"] = averages_of(values)[0]["average"]
    arrays["average_debiased"] = tensorflow_average(list(values), 0.99, zero_debias=True)
    versions = f"tensorflow {tf.__version__}, numpy {np.__version__}, python {platform.python_version()}"
    arrays["made_with"] = np.array(f"{versions}, {platform.machine()}, one thread, seed {SEED}")
    np.savez_compressed(GOLDENS, **arrays)
    _say(f"{GOLDENS}: {GOLDENS.stat().st_size} bytes, {versions}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Write the goldens, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", type=int, metavar="N", help="compare at least N values of each op's output")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if arguments.compare is None:
        write()
        return 0
    return 1 if compare(arguments.compare, arguments.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
