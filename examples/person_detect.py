"""Run TFLite Micro's person detector, which LiteRT refuses to load, on its two test images.

The model and the images are TFLite Micro's own: ``person_detect_int8.tflite``, ``person.bmp`` and ``no_person.bmp``.
They are looked for in ``../shared/models/tflm`` beside the checkout, or in the folder given:

    python examples/person_detect.py [FOLDER]

The two images do not hold the same kind of bytes, as a look at them shows. ``no_person.bmp`` holds grey levels.
``person.bmp`` holds the int8 codes of the model's input as they lie in memory, so that an image viewer shows its
dark parts light and its light parts dark. TFLite Micro's test takes the bytes of both as int8 codes; so read, a
giraffe turns into a badly exposed giraffe, which is not a person either.
"""

from __future__ import annotations

import argparse
import enum
import struct
from pathlib import Path

import numpy as np

import quantref
from qmath.errors import InputError
from qmath.types import Int8Array, UInt8Array

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "models" / "tflm"
LABELS = ("not a person", "person")


class Pixels(enum.Enum):
    """What the bytes of an image are."""

    GREY_LEVELS = enum.auto()
    INT8_CODES = enum.auto()


IMAGES = {"person.bmp": Pixels.INT8_CODES, "no_person.bmp": Pixels.GREY_LEVELS}


def read_bmp(content: bytes) -> UInt8Array:
    """Read an uncompressed Windows bitmap with one byte a pixel and a grey palette.

    Parameters
    ----------
    content
        The bytes of the file.

    Returns
    -------
    UInt8Array
        Shape ``(height, width)``, the top row first.

    Raises
    ------
    InputError
        The file is another kind of bitmap, or is cut short.

    """
    header = struct.Struct("<2s8xIIiiHHI")  # magic; offset of the pixels; header size, width, height, planes, bits, ...
    if len(content) < header.size:
        message = f"expected a bitmap, found {len(content)} bytes"
        raise InputError(message)
    magic, start, header_bytes, width, height, _, bits, compression = header.unpack_from(content)
    if (magic, bits, compression) != (b"BM", 8, 0) or width < 1 or height == 0:
        message = (
            "expected an uncompressed bitmap with 8 bits a pixel, "
            f"found magic {magic!r}, {width} x {height} pixels, {bits} bits a pixel, compression {compression}"
        )
        raise InputError(message)
    palette = content[14 + header_bytes : start]
    if palette != bytes(level if channel < 3 else 0 for level in range(256) for channel in range(4)):
        message = "expected a palette of 256 grey levels, from black to white, found another"
        raise InputError(message)
    row_bytes = -(-width // 4) * 4
    if len(content) < start + row_bytes * abs(height):
        message = f"expected {row_bytes * abs(height)} bytes of pixels, found {len(content) - start}"
        raise InputError(message)
    rows = np.frombuffer(content, np.uint8, row_bytes * abs(height), start).reshape(abs(height), row_bytes)
    pixels = rows[:, :width]
    return pixels[::-1] if height > 0 else pixels  # a positive height means that the bottom row is stored first


def to_input(image: UInt8Array, pixels: Pixels) -> Int8Array:
    """Turn an image into the int8 codes of the model's input.

    The input has scale 2/255 and zero point -1: codes -128 to 127 stand for about -1 to 1, black to white.

    Parameters
    ----------
    image
        Shape ``(height, width)``.
    pixels
        What its bytes are.

    Returns
    -------
    Int8Array
        Shape ``(1, height, width, 1)``.

    """
    grey_as_codes = (image ^ np.uint8(128)).view(np.int8)  # flipping the top bit subtracts 128, modulo 256
    codes = image.view(np.int8) if pixels is Pixels.INT8_CODES else grey_as_codes
    return codes[np.newaxis, :, :, np.newaxis]


def main() -> None:
    """Print the scores of both images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where the model and the images are")
    folder = parser.parse_args().folder
    model = quantref.load(folder / "person_detect_int8.tflite")
    for name, pixels in IMAGES.items():
        codes = to_input(read_bmp((folder / name).read_bytes()), pixels)
        (scores,) = quantref.run(model, {"input": codes}).values()
        probabilities = (scores[0].astype(np.int64) + 128) / 256  # the fixed scale and zero point of a softmax
        print(f"{name}: {LABELS[int(probabilities.argmax())]} ({probabilities[1]:.1%} person)")


if __name__ == "__main__":
    main()
