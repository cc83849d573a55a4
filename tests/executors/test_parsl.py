"""Bundles as apps of Parsl."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from executors.futures.parsl import ParslFramework
from executors.testing.frameworks import FrameworkContract

with_parsl = [
    pytest.mark.slow,
    pytest.mark.xdist_group("parsl"),
    pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="Parsl is not installed"),
]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What a user may have loaded, shared by tests."""
    from parsl.dataflow.dflow import DataFlowKernel

    made = DataFlowKernel(ParslFramework(processes=2).local(tmp_path_factory.mktemp("parsl")))
    yield made
    made.cleanup()


class TestContract(FrameworkContract):
    """The situations that every framework must master; a driver that is killed has an engine of its own."""

    pytestmark = with_parsl
    patience = 120.0
    shared: ClassVar[Any] = None

    @pytest.fixture(autouse=True)
    def reach(self, kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "shared", kernel)

    def make(self, tmp_path: Path) -> ParslFramework:
        return ParslFramework(self.shared, processes=2, late=5.0)
