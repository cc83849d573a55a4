"""The contract of ExecutionFrameworks, held to those that are shipped, and to one whose jobs are blind."""

from __future__ import annotations

import pytest

from executors import InProcessFramework, MultiprocessFramework
from executors.testing.blind import BlindFramework
from executors.testing.frameworks import FrameworkContract


class TestInProcess(FrameworkContract):
    survives_killed_workers = False

    def make(self, tmp_path):
        return InProcessFramework()


@pytest.mark.slow
class TestMultiprocess(FrameworkContract):
    def make(self, tmp_path):
        return MultiprocessFramework(2)


@pytest.mark.slow
class TestBlind(FrameworkContract):
    def make(self, tmp_path):
        return BlindFramework(tmp_path / "jobs")
