"""What check says of five runtimes, held against which of the stored cases they ran."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import quantref as qr
from quantref.checks.rule import Effect

pytestmark = pytest.mark.shared
#: Profiles, and how the stored outputs of their runtimes are called.
STORED = {
    "tflm": "tflm",
    "cmsis-nn": "cmsis_nn",
    "litert-reference": "litert_reference",
    "litert-optimized": "litert_optimized",
    "xnnpack": "xnnpack",
}


def test_what_ran_is_not_said_to_be_refused_and_what_did_not_is(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared, wrong = 0, []
    for path in sorted((shared / "goldens").glob("*.tflite")):
        with np.load(path.with_suffix(".npz")) as stored:
            keys = stored.files
        found = qr.check(path)
        for profile, name in STORED.items():
            ran = any(key.startswith(f"{name}__output") for key in keys)
            effects = {finding.rule.effect for finding in found if profile in finding.runtimes}
            # Ops without a file of CMSIS-NN's were not run there, whether or not they would have.
            silent = not ran and profile != "cmsis-nn" and not effects - {Effect.WASTE, Effect.DIFFERS}
            if silent or (ran and Effect.REFUSES in effects):
                wrong.append(f"{path.stem} {profile}: {'ran' if ran else 'did not run'}, {sorted(map(str, found))}")
            compared += 1
    assert compared >= 2000
    assert not wrong, "\n".join(wrong)
    with capsys.disabled():
        print(f"\n{compared} statements about runtimes held against stored cases")  # noqa: T201
