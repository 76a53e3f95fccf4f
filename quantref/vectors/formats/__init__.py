"""The same arrays in other formats: JSON, C headers, memory images in hexadecimal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import fbs
from qmath.types import Array
from quantref.vectors.formats.c import CASE_HEADER, case_header
from quantref.vectors.formats.text import hex_files, json_file
from quantref.vectors.running import Answer

JSON_FILE = "vectors.json"


def extra_files(
    name: str,
    formats: Sequence[str],
    model: fbs.Model,
    samples: Sequence[Mapping[str, Array]],
    answers: Mapping[str, Answer],
) -> dict[str, bytes]:
    """Return the files of a case in the formats asked for: ``"json"``, ``"c"``, ``"hex"``."""
    files: dict[str, bytes] = {}
    if "json" in formats:
        files[JSON_FILE] = json_file(model, samples, answers)
    if "c" in formats:
        files[CASE_HEADER] = case_header(name, model, samples, answers)
    if "hex" in formats:
        files |= hex_files(model, samples, answers)
    return files
