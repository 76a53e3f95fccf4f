"""Quantize the network of the demo with quantref, in the forms that are bundled as files.

Reads ``quantref/data/digits_float32.tflite`` and ``digits.npz``, writes ``digits_FORM.tflite`` beside them, and enters
size, digest and test accuracy of each into ``digits.json``. The demo itself quantizes on the spot and does not read
these files; they are there to be run, inspected and explained.

    python examples/quantize_digits.py
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

import quantref
from quantref import demo
from quantref.npz import load_npz

#: By file: a form of the demo.
FILES = {
    "digits_float16.tflite": "float16",
    "digits_dynamic.tflite": "dynamic",
    "digits_int8.tflite": "int8",
    "digits_int16x8.tflite": "16x8",
}


def main() -> None:
    """Quantize, run, write."""
    digits = load_npz(demo.DATA / "digits.npz")
    stamp = json.loads((demo.DATA / "digits.json").read_text())
    models = demo.digits_models(digits["train_images"][: demo.CALIBRATION_IMAGES])
    found = {"float32": stamp["models"]["float32"]}
    for file, form in FILES.items():
        path = demo.DATA / file
        quantref.save(models[form], path)
        inputs = demo.encode(digits["test_images"], models[form])
        (outputs,) = quantref.run(models[form], {"image": inputs}).values()
        correct = int(np.count_nonzero(outputs.argmax(axis=1) == digits["test_labels"]))
        content = path.read_bytes()
        found[file.removeprefix("digits_").removesuffix(".tflite")] = {
            "file": file,
            "made_by": "examples/quantize_digits.py",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "correct": correct,
            "accuracy": correct / len(outputs),
        }
        print(f"{file}: {len(content)} bytes, {correct} of {len(outputs)} test images right")
    stamp["models"], stamp["representative_images"] = found, demo.CALIBRATION_IMAGES
    (demo.DATA / "digits.json").write_text(json.dumps(stamp, indent=2) + "\n")


if __name__ == "__main__":
    main()
