from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import Figure

ROOT = Path(__file__).resolve().parents[2]


def test_ratio_is_value_over_reference() -> None:
    figure = Figure("a.b", 10, 2.0, "µs", 4.0)
    assert figure.to_json() == {
        "name": "a.b", "size": 10, "value": 2.0, "unit": "µs", "reference": 4.0, "ratio": 0.5,
    }  # fmt: skip


def test_figure_that_is_held_against_nothing_has_no_ratio() -> None:
    assert set(Figure("a.b", 10, 2.0, "µs").to_json()) == {"name", "size", "value", "unit"}


def test_cpu_time_counts_children_and_not_waiting() -> None:
    burn = "t = __import__('time'); e = t.process_time() + 0.2\nwhile t.process_time() < e: pass"
    with harness.measured() as cost:
        subprocess.run([sys.executable, "-c", burn], check=True)
    assert cost.cpu >= 0.2
    with harness.measured() as idle:
        subprocess.run([sys.executable, "-S", "-c", "import time; time.sleep(0.3)"], check=True)
    assert idle.cpu < 0.25 < idle.wall


def test_memory_of_a_fresh_process_is_its_own() -> None:
    ballast = bytearray(200_000_000)
    found = harness.fresh(harness.peak_bytes)
    assert found.value <= found.peak < 150_000_000 < len(ballast)
    assert found.cpu > 0


def test_failure_in_a_fresh_process_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"failed in its own process:(.|\n)*Error"):
        harness.fresh(harness.fresh)


def test_a_benchmark_prints_one_json_object_per_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.startup", "--json", "--repeat", "1"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["name"] for row in rows] == [
        "startup.help_cpu_ms", "startup.import_cpu_ms", "startup.bundle_job_cpu_ms",
        "startup.job_of_many_cpu_ms",
    ]  # fmt: skip
    assert all(row["value"] > 0 and row["ratio"] == row["value"] / row["reference"] for row in rows)
