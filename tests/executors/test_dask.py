"""Bundles as calls on workers of Dask."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.futures.dask import DaskFramework
from executors.testing.frameworks import FrameworkContract

with_dask = [
    pytest.mark.slow,
    pytest.mark.xdist_group("dask"),
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask is not installed"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster that tests share; they reach it as a user reaches somebody's."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        memory_limit=None,
        dashboard_address="127.0.0.1:0",
        host="127.0.0.1",
    ) as made:
        yield made


class TestContract(FrameworkContract):
    """The situations that every framework must master, on a cluster that outlives each run."""

    pytestmark = with_dask
    patience = 120.0
    address = ""

    @pytest.fixture(autouse=True)
    def reach(self, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUPERTASK_TEST_DASK", cluster.scheduler_address)

    def make(self, tmp_path: Path) -> DaskFramework:
        import os

        return DaskFramework(os.environ["SUPERTASK_TEST_DASK"], late=5.0)
