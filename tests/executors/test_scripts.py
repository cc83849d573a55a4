"""A pool started from a plain script, as a newcomer writes one: without a guard around its top level."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TASK = """
from supertask import InputField, OutputField, Struct, SuperTask, SuperTaskConfig


class DoubleConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    number = InputField(units=("visit",), storage="json", doc="A number.")
    double = OutputField(units=("visit",), storage="json", doc="Twice that.")


class DoubleTask(SuperTask):
    ConfigClass = DoubleConfig
    _DefaultName = "double"

    def run(self, number):
        return Struct(double=2 * number)
"""

SCRIPT = """
from executors import MultiprocessFramework
from graphbuilder import GraphBuilder
from supertask import Butler, Pipeline

butler = Butler.create("repo", unit_model="imaging")
butler.insert_units("instrument", [{"instrument": "Cam"}])
butler.insert_units("visit", [{"instrument": "Cam", "visit": v} for v in range(4)])
butler.register_type(DoubleConfig().number)
for visit in range(4):
    butler.put(visit, "number", instrument="Cam", visit=visit, run="in")
dag = GraphBuilder(Pipeline().add("double", DoubleTask), butler, output_run="out").makeGraph()
dag.save("plan.h5")
report = MultiprocessFramework(processes=2).execute("plan.h5", butler)
print(report.exit_code, [butler.get("double", instrument="Cam", visit=v) for v in range(4)])
"""


@pytest.mark.parametrize("where", ["in the script itself", "in a module"])
def test_a_script_without_a_guard_runs_a_pool(tmp_path: Path, where: str) -> None:
    if where == "in a module":
        (tmp_path / "doubling.py").write_text(TASK)
        script = "from doubling import DoubleConfig, DoubleTask\n" + SCRIPT
    else:
        script = TASK + SCRIPT
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "0 [0, 2, 4, 6]", done.stderr
