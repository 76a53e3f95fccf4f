"""A suite run on a real Dask cluster of two worker processes, one of which is killed midway."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import quantref.conform.run
from quantref.conform import Conformance, conform
from tests.quantref.conform import devices
from tests.quantref.conform.suites import of_cell, write_suite

distributed = pytest.importorskip("distributed", reason="distributed is not installed")


def written(found: Conformance) -> list[dict[str, Any]]:
    """Return every result but for the time that it took."""
    entries = [dict(entry) for entry in found.record]
    for entry in entries:
        del entry["seconds"]
    return entries


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_is_killed_midway_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = 60
    suite = write_suite(tmp_path, of_cell("MUL int8", cases), ("litert-reference",))
    alone = conform(suite, devices.slow)
    monkeypatch.setattr(quantref.conform.run, "PORTION", 5)
    started: set[int] = set()
    killed: list[tuple[int, int]] = []

    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
            silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        started |= set(client.run(os.getpid).values())
        assert len(started) == 2

        def kill_one(done: int, total: int) -> None:
            if done >= 10 and not killed:
                victim = min(started)
                os.kill(victim, signal.SIGKILL)
                killed.append((victim, total - done))

        spread = conform(suite, devices.slow, executor=client.get_executor(), progress=kill_one)
        client.wait_for_workers(2, timeout=30)
        started |= set(client.run(os.getpid).values())

    ((victim, left),) = killed
    assert left > cases // 2, "it was to be killed midway"
    assert len(started) == 3, "a worker took the place of the one that was killed"
    assert not alive(victim)
    assert spread.total.cases == cases
    assert written(spread) == written(alone)
    assert json.dumps(spread.to_json()) == json.dumps(alone.to_json())
    for _ in range(100):
        if not any(map(alive, started)):
            return
        time.sleep(0.1)
    pytest.fail("the cluster left processes")
