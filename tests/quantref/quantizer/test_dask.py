"""Calibration spread over a Dask cluster of two worker processes."""

from __future__ import annotations

import pytest

from qmath.calibration import observer_named
from quantref.quantizer.calibration import calibrate
from tests.quantref.quantizer.float_models import images, residual

distributed = pytest.importorskip("distributed", reason="distributed is not installed")


def test_statistics_do_not_depend_on_the_cluster() -> None:
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
        executor = client.get_executor()
        for observer in ("min-max", "percentile:99", "moving-average"):
            chosen = observer_named(observer)
            spread = calibrate(residual(), images(20), observer=chosen, executor=executor)
            assert spread == calibrate(residual(), images(20), observer=chosen)
            assert spread.means
