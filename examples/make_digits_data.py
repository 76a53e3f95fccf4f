"""Make quantref/data/digits.npz from scikit-learn's digits images.

The 1797 images are shuffled with a fixed seed and split, digit by digit, so that the training and the test split
hold the same share of every digit. Needs scikit-learn: ``pip install scikit-learn``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

SEED = 2
TEST_IMAGES = 500
DATA = Path(__file__).resolve().parent.parent / "quantref" / "data"


def split(labels: np.ndarray, test_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices of ``labels`` into a training and a test part with the same share of every label.

    Every image gets its rank among the shuffled images of its own digit, as a fraction of their number; the images
    with the lowest fractions are the test split.

    Parameters
    ----------
    labels
        Integers, shape ``(images,)``.
    test_images
        Size of the test part.
    seed
        Seed of the shuffle.

    Returns
    -------
    train, test
        Indices in shuffled order, shapes ``(images - test_images,)`` and ``(test_images,)``.

    """
    order = np.random.default_rng(seed).permutation(labels.size)
    fraction = np.empty(labels.size)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        fraction[members] = np.arange(members.size) / members.size
    is_test = np.zeros(labels.size, bool)
    is_test[np.argsort(fraction, kind="stable")[:test_images]] = True
    return order[~is_test[order]], order[is_test[order]]


def main() -> None:
    """Write the file and say what is in it."""
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    if not np.array_equal(images, digits.images):
        message = "expected whole grey levels from 0 to 16, found others"
        raise ValueError(message)
    train, test = split(labels, TEST_IMAGES, SEED)
    arrays = {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }
    path = DATA / "digits.npz"
    np.savez_compressed(path, **arrays)
    for name, array in arrays.items():
        print(f"{name}: {array.dtype} {array.shape}, {array.min()} to {array.max()}")
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
