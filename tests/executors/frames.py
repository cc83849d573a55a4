"""A small survey, a pipeline over it, and a folder of files that make its quanta misbehave.

In `control` a file named ``<label>-<data ID values>`` holds what the quantum is to do: ``raise``, ``exit``,
``die`` (os._exit), ``kill`` (SIGKILL), ``segfault``, ``nothing`` (NoWork), ``forget`` (writes no output),
``partial`` (writes, then raises), ``interrupt``, ``memory``, ``sleep:<seconds>``, ``bad`` (BadInputError),
``transient``, ``until:<n>:<action>`` (that, before its n-th call), ``allocate:<bytes>`` (and holds them a
while), ``family`` (starts a child in a session of its own and an orphan, notes their process numbers in
``control/family``, and hangs), ``forked`` (forks a child that hangs, noted likewise, and is killed),
``caveat`` (PartialOutputs after it wrote). Names may be globbed:
``reduce-*`` stands for all. What runs is noted in ``control/ran``, a line for each call.
"""

from __future__ import annotations

import ctypes
import fnmatch
import json
import os
import signal
import sys
import time
from pathlib import Path

from graphbuilder.builder import GraphBuilder
from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.configs.config import field
from supertask.connections.fields import (
    InitInputField,
    InitOutputField,
    InputField,
    OutputField,
    SuperTaskConfig,
)
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import BadInputError, NoWork, PartialOutputs
from supertask.pipelines.pipeline import Pipeline
from supertask.rows import FileRecord
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

RAW = Dataset.subclass("raw", ("visit", "detector"), "json")
RUN = "u/test/run"
CHILD = """
import os, sys, time
if sys.argv[2] == "orphan" and os.fork():
    os._exit(0)
os.setsid()
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(99)
"""

_RAISED = {
    "bad": BadInputError("the shutter did not open"),
    "transient": ConnectionError("the archive does not answer"),
}


class Steered(SuperTask):
    """Does what the control folder says, before or after it writes."""

    def runQuantum(self, quantum, butler):
        action = self._action(quantum.dataId)
        if action not in {"partial", "forget"}:
            self._act(action)
        if action == "forget":
            return
        super().runQuantum(quantum, butler)
        if action == "partial":
            raise ValueError("after it wrote")
        if action == "caveat":
            raise PartialOutputs("half of the detector is dead")

    def _action(self, dataId: DataId) -> str:
        if not self.config.control:
            return ""
        name = "-".join([self.name, *(str(dataId[u]) for u in self.config.quantum_units)])
        with open(f"{self.config.control}/ran", "a") as file:
            file.write(f"{name} {os.getpid()}\n")
        for each in os.listdir(self.config.control):
            if fnmatch.fnmatch(name, each.replace("@", "*")):
                action = Path(self.config.control, each).read_text()
                if action.startswith("until:"):
                    _, count, action = action.split(":", 2)
                    return action if ran(Path(self.config.control)).count(name) < int(count) else ""
                return action
        return ""

    def _act(self, action: str) -> None:
        self.log.info("about to %s", action or "work")
        self.metadata["action"] = action
        if action == "raise":
            raise ValueError("the sky was cloudy")
        if action == "exit":
            sys.exit(3)
        if action == "die":
            os._exit(3)
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "segfault":
            ctypes.string_at(0)
        if action == "nothing":
            raise NoWork("all pixels are bad")
        if action == "interrupt":
            raise KeyboardInterrupt
        if action == "memory":
            raise MemoryError
        if action in _RAISED:
            raise _RAISED[action]
        if action.startswith("allocate:"):
            held = bytearray(int(action[9:]))
            held[::4096] = b"x" * len(held[::4096])
            time.sleep(1)
        if action in {"family", "forked"}:
            self._start(action)
        if action.startswith("sleep:"):
            time.sleep(float(action[6:]))

    def _start(self, action: str) -> None:
        control = Path(self.config.control)
        if action == "forked":
            child = os.fork()
            if child:
                (control / "family").write_text(f"{child}\n")
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(99)
        for kind in ("own session", "orphan"):
            words = [sys.executable, "-c", CHILD, str(control / "family"), kind]
            os.posix_spawn(sys.executable, words, os.environ)  # a task need not look after it
        while len(family(control)) < 2:
            time.sleep(0.01)
        time.sleep(99)


class ReduceConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    raw = InputField(units=("visit", "detector"), storage="json", doc="Raw frame.")
    image = OutputField(units=("visit", "detector"), storage="json", doc="Reduced frame.")
    mask = OutputField(units=("visit", "detector"), storage="json", doc="Bad pixels.", minimum=0)
    schema = InitOutputField(storage="json", doc="What an image holds.")
    offset: float = field(1.0, doc="Added to each frame.")
    masks: bool = field(True, doc="Whether to write masks.")
    control: str = field("", doc="Folder that steers misbehaviour.", meta=True)


class ReduceTask(Steered):
    ConfigClass = ReduceConfig
    _DefaultName = "reduce"

    def run(self, raw):
        odd = raw["value"] % 2
        mask = {"bad": raw["value"]} if self.config.masks and odd else None
        return Struct(image={"value": raw["value"] + self.config.offset}, mask=mask)

    def getDatasetSchemas(self):
        return {self.config.schema: {"value": "float"}}


class StackConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    image = InputField(units=("visit", "detector"), storage="json", doc="Frames.", minimum=2)
    mask = InputField(units=("visit", "detector"), storage="json", doc="Masks.", minimum=0)
    schema = InitInputField(storage="json", doc="What an image holds.")
    stack = OutputField(units=("visit",), storage="json", doc="Sum of all detectors.")
    control: str = field("", doc="Folder that steers misbehaviour.", meta=True)


class StackTask(Steered):
    ConfigClass = StackConfig
    _DefaultName = "stack"

    def __init__(self, butler=None, **kwargs):
        super().__init__(butler, **kwargs)
        self.schema = butler.get(self.config.schema) if butler is not None else {}

    def run(self, image, mask):
        total = sum(i["value"] for i in image)
        return Struct(stack={"sum": total, "of": len(image), "masks": len(mask), "schema": list(self.schema)})


class ReportConfig(SuperTaskConfig):
    quantum_units = ("instrument",)
    stack = InputField(units=("visit",), storage="json", doc="Stacks.")
    report = OutputField(units=("instrument",), storage="json", doc="The mean of all.")
    control: str = field("", doc="Folder that steers misbehaviour.", meta=True)


class ReportTask(Steered):
    ConfigClass = ReportConfig
    _DefaultName = "report"

    def run(self, stack):
        return Struct(report={"visits": len(stack), "total": sum(s["sum"] for s in stack)})


def make_repository(root: Path, visits: int = 4, detectors: int = 3) -> Butler:
    butler = Butler.create(root)
    butler.insert_units("instrument", [{"instrument": "Cam"}])
    butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in range(detectors)])
    butler.insert_units("band", [{"band": "r"}])
    butler.insert_units("physical_filter", [{"instrument": "Cam", "physical_filter": "R", "band": "r"}])
    butler.insert_units(
        "visit", [{"instrument": "Cam", "visit": v, "physical_filter": "R"} for v in range(visits)]
    )
    butler.create_collection("raw", CollectionKind.RUN)
    records = []
    (root / "raw").mkdir()
    for v in range(visits):
        for d in range(detectors):
            location = f"raw/{v}-{d}.json"
            text = json.dumps({"value": 10 * v + d})
            (root / location).write_text(text)
            raw = RAW(instrument="Cam", visit=v, detector=d)
            records.append(FileRecord(raw, location, len(text), "", bytes([v % 256, d]) + bytes(14)))
    butler.register("raw", records)
    return butler


def plan(butler: Butler, control: Path | str = "", *, run: str = RUN, where: str = "", **config):
    pipeline = Pipeline("Reduce, stack, report.")
    pipeline.add("reduce", ReduceTask, ReduceConfig(control=str(control), **config))
    pipeline.add("stack", StackTask, StackConfig(control=str(control)))
    pipeline.add("report", ReportTask, ReportConfig(control=str(control)))
    return GraphBuilder(pipeline, butler, run, collections=["raw"]).makeGraph(where)


def outputs(root: Path, run: str = RUN) -> dict[str, bytes]:
    """Every file of the run's outputs with its bytes."""
    folder = Path(root) / run
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def ran(control: Path) -> list[str]:
    """Names of the quanta that ran, in order, one for each call."""
    path = Path(control) / "ran"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def family(control: Path) -> list[int]:
    """Process numbers of what the action ``family`` started."""
    path = Path(control) / "family"
    return [int(line) for line in path.read_text().split()] if path.exists() else []
