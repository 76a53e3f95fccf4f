"""Representative data: every form gives the same samples, and what does not fit is said clearly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmath.errors import InputError
from quantref.quantizer.representative import Samples
from tests.quantref.quantizer.float_models import any_length, difference, images, residual

A = np.arange(12, dtype=np.float32).reshape(4, 1, 3)
B = A * 10
#: The file of :func:`difference` lists b before a.
WANTED = [[b, a] for a, b in zip(A, B, strict=True)]


def generator() -> Iterator[list[np.ndarray]]:
    yield from WANTED


FORMS: dict[str, Callable[[Path], Any]] = {
    "lists": lambda _: WANTED,
    "tuples": lambda _: [tuple(sample) for sample in WANTED],
    "a callable": lambda _: generator,
    "a generator": lambda _: generator(),
    "dicts by tensor name": lambda _: [{"given_a:0": a, "given_b:0": b} for b, a in WANTED],
    "dicts by a signature's names": lambda _: [{"a": a, "b": b} for b, a in WANTED],
    "dicts by index and name": lambda _: [{"1:given_a:0": a, "0:given_b:0": b} for b, a in WANTED],
    "signature and dict": lambda _: [("twin", {"left": b, "right": a}) for b, a in WANTED],
    "dict by signature": lambda _: {"minus": ({"a": a, "b": b} for b, a in WANTED)},
    "nested Python lists": lambda _: [[b.tolist(), a.tolist()] for b, a in WANTED],
    "float64": lambda _: [[b.astype(np.float64), a.astype(np.float16)] for b, a in WANTED],
    "whole arrays": lambda _: {"a": A, "b": B},
    "whole arrays whose first axis is the batch": lambda _: {"a": A[:, 0], "b": B[:, 0]},
    "npz by name": lambda folder: saved(folder, a=A, b=B),
    "npz by position": lambda folder: saved(folder, in0=B, in1=A),
    "npz without names": lambda folder: saved(folder, B, A),
}


def saved(folder: Path, *args: np.ndarray, **kwargs: np.ndarray) -> Path:
    np.savez(folder / "data.npz", *args, **kwargs)
    return folder / "data.npz"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples(form: str, tmp_path: Path) -> None:
    samples = Samples(difference(), FORMS[form](tmp_path))
    found = list(samples)
    assert len(found) == 4
    for sample, wanted in zip(found, WANTED, strict=True):
        assert all(array.dtype == np.float32 for array in sample)
        assert np.array_equal(sample, wanted)
    assert samples.total in {4, None}
    assert (samples.total is None) == (form in {"a callable", "a generator", "dict by signature"})


@pytest.mark.parametrize("data", [images(5), images(5)[:, 0], list(images(5)), [[x] for x in images(5)]])
def test_one_input_needs_no_list(data: Any) -> None:
    assert np.array_equal([sample[0] for sample in Samples(residual(), data)], images(5))


def test_an_array_with_a_larger_batch_is_one_sample_where_the_model_has_one() -> None:
    (first,) = Samples(residual(), [images(3)[:, 0]])
    assert first[0].shape == (3, 4, 4, 2)
    assert len(list(Samples(residual(), images(3)[:, 0]))) == 3


def test_samples_are_read_one_by_one() -> None:
    read = 0

    def reading() -> Iterator[np.ndarray]:
        nonlocal read
        for image in images(10):
            read += 1
            yield image

    samples = iter(Samples(residual(), reading))
    next(samples)
    next(samples)
    assert read == 2


def test_the_first_sample_sets_the_size() -> None:
    wide = np.zeros((1, 8, 8, 2), np.float32)
    assert [s[0].shape for s in Samples(residual(), [wide, wide])] == [(1, 8, 8, 2)] * 2
    with pytest.raises(InputError, match=r"sample 1: input 'x': expected shape \[1, 8, 8, 2\] as in the first"):
        list(Samples(residual(), [wide, images(1)[0]]))


def test_open_dimensions_may_change() -> None:
    data = [np.zeros((rows, 2)) for rows in (3, 1, 5)]
    assert [s[0].shape[0] for s in Samples(any_length(), data)] == [3, 1, 5]
    with pytest.raises(InputError, match="sample 1"):
        list(Samples(any_length(), [np.zeros((1, 2)), np.zeros((1, 3))]))


ROW = np.zeros((1, 3), np.float32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "at least one sample, found none"),
        ({"a": A[:0], "b": B[:0]}, "at least one sample"),
        (lambda: iter(()), "at least one sample"),
        (5, "an iterable of samples, found int"),
        ([[ROW]], r"sample 0: expected 2 arrays .*, found 1"),
        ([ROW], "a list or a dict of 2 arrays"),
        ([{"a": ROW}], "found none for 'given_b:0'"),
        ([{"a": ROW, "b": ROW, "c": ROW}], "expected inputs named .*, found 'c'"),
        ([{0: ROW}], "found 0"),
        ([("plus", {"a": ROW, "b": ROW})], "a signature of the main subgraph, one of .*, found 'plus'"),
        ([("minus", [ROW, ROW])], "a dict of arrays behind the signature"),
        ([("twin", {"a": ROW, "b": ROW})], "found 'a'"),
        ([[ROW, np.zeros((1, 3), np.uint8)]], "expected float32, found uint8"),
        ([[ROW, np.zeros(3, np.float32)]], r"input 'given_a:0': expected shape \[1, 3\], found \[3\]"),
        ([[ROW, np.zeros((0, 3), np.float32)]], r"expected shape \[1, 3\], found \[0, 3\]"),
        ([[ROW, [[1.0], [1.0, 2.0]]]], "expected an array, found list"),
        ([[ROW, "abc"]], "expected float32, found <U3"),
        ([[ROW, ROW], [ROW, ROW * np.nan]], "sample 1: input 'given_a:0': expected finite numbers, found nan"),
        ([[ROW - np.inf, ROW]], "input 'given_b:0': expected finite numbers, found -inf"),
        ([[ROW, np.full((1, 3), 1e39)]], "within float32"),
        ({"a": A, "b": B[:3]}, "same number of samples"),
        ({"a": A}, "found none for 'given_b:0'"),
        ({"a": A, "b": B[0, 0]}, r"expected shape \['samples', 1, 3\], found \[3\]"),
        (A, "expected 2 arrays"),
        ("/nowhere/data.npz", "readable .npz"),
    ],
)
def test_what_does_not_fit_is_said_clearly(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(Samples(difference(), data))


def test_a_generator_that_was_read_is_empty() -> None:
    data = generator()
    assert len(list(Samples(difference(), data))) == 4
    with pytest.raises(InputError, match="only once"):
        list(Samples(difference(), data))


def test_npz_errors_name_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, one=A, two=B)
    with pytest.raises(InputError, match=r"data\.npz: expected inputs named .* found 'one'"):
        Samples(difference(), path)


def test_integers_fit_if_they_are_in_range() -> None:
    from tests.quantref.small_models import two_layers  # noqa: PLC0415 - only here

    assert next(iter(Samples(two_layers(), [np.array([[1, 2, 3, -4]])])))[0].dtype == np.int8
    with pytest.raises(InputError, match="expected int8, found int64"):
        list(Samples(two_layers(), [np.array([[1, 2, 3, 400]])]))
