"""A small survey to run the pipeline of `executors.testing.steered` on, and a folder for orders beside it.

Apart from the tasks, so that a job that runs these need not import what plans.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from executors.journal.journal import Header, decode_attempt
from executors.journal.runfolder import RunFolder
from executors.outcome import QuantumStatus
from executors.testing.steered import FlattenTask, GalaxiesTask, MergeTask, StarsTask, SummaryTask
from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling
from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
from supertask.pipelines.pipeline import Pipeline
from supertask.rows import FileRecord

__all__ = ["DRIVE", "RUN", "Survey"]

RUN = "u/contract/run"
_RAW = Dataset.subclass("raw", ("visit", "detector"), "json")

DRIVE = """
import importlib, sys
from pathlib import Path
from executors.testing.survey import Survey
from supertask.butler.repository import Butler
module, name, tmp_path, folder = sys.argv[1:]
contract = getattr(importlib.import_module(module), name)()
survey = Survey(Path(folder))
with Butler(survey.root) as butler:
    sys.exit(contract.make(Path(tmp_path)).execute(survey.plan(butler), butler).exit_code)
"""
"""Program of a driver in an interpreter of its own: module and name of the contract, two folders."""


@attrs.define
class Survey:
    """A repository with raw frames, and a folder of orders beside it; made unless it is there."""

    folder: Path
    visits: int = 3
    detectors: int = 2

    def __attrs_post_init__(self) -> None:
        if not self.orders.exists():
            self.orders.mkdir(parents=True)
            self._make().close()

    @property
    def root(self) -> Path:
        """The repository."""
        return self.folder / "repo"

    @property
    def orders(self) -> Path:
        """The folder of orders."""
        return self.folder / "orders"

    @property
    def n_quanta(self) -> int:
        """How many quanta the whole plan has."""
        return 3 * self.visits * self.detectors + self.visits + 1

    def _make(self) -> Butler:
        butler = Butler.create(self.root)
        butler.insert_units("instrument", [{"instrument": "Cam"}])
        butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in range(self.detectors)])
        butler.insert_units("band", [{"band": "r"}])
        butler.insert_units("physical_filter", [{"instrument": "Cam", "physical_filter": "R", "band": "r"}])
        visits = [{"instrument": "Cam", "visit": v, "physical_filter": "R"} for v in range(self.visits)]
        butler.insert_units("visit", visits)
        butler.create_collection("raw", CollectionKind.RUN)
        (self.root / "raw").mkdir()
        records = []
        for v in range(self.visits):
            for d in range(self.detectors):
                location, text = f"raw/{v}-{d}.json", json.dumps({"value": 10 * v + d + 1})
                (self.root / location).write_text(text)
                raw = _RAW(instrument="Cam", visit=v, detector=d)
                records.append(
                    FileRecord(raw, location, len(text), "", bytes([v & 255, d, v >> 8]) + bytes(13))
                )
        butler.register("raw", records)
        return butler

    def order(self, quantum: str, what: str) -> None:
        """Order a quantum (``stars-2-0``, or a pattern) to do something."""
        (self.orders / quantum).write_text(what)

    def countermand(self) -> None:
        """Take all orders back."""
        for each in self.orders.iterdir():
            if each.name != "calls":
                each.unlink()

    def calls(self) -> list[str]:
        """Return names of quanta, one for each call of a task."""
        path = self.orders / "calls"
        return path.read_text().split() if path.exists() else []

    def plan(self, butler: Butler) -> ScienceDag:
        """Plan everything."""
        pipeline = Pipeline("A diamond.")
        for task in (FlattenTask, StarsTask, GalaxiesTask, MergeTask, SummaryTask):
            pipeline.add(task._DefaultName, task, task.ConfigClass(orders=str(self.orders)))
        return GraphBuilder(pipeline, butler, RUN, collections=["raw"]).makeGraph()

    def bundled(self, butler: Butler) -> ScienceDag:
        """Plan everything, in a bundle for each visit, and one for the rest."""
        plan = self.plan(butler)
        members: dict[Any, list[int]] = {}
        for q, quantum in enumerate(plan.quanta):
            members.setdefault(dict(quantum.dataId or ()).get("visit", "rest"), []).append(q)
        ends = np.cumsum([0, *map(len, members.values())]).astype(np.int64)
        indices = np.array([q for each in members.values() for q in each], np.int32)
        return plan.with_bundling(Bundling("by visit", ends, indices))

    def successes(self, plan: ScienceDag) -> list[int]:
        """Return how often the journal says of each quantum that it succeeded."""
        found = {plan.identities[q].tobytes(): 0 for q in range(plan.n_quanta)}
        for path in RunFolder(str(self.root), RUN).journal.glob("*.jsonl"):
            lines = path.read_bytes().splitlines()
            header = Header.from_line(json.loads(lines[0][9:]))
            for line in lines[1:]:
                said = json.loads(line[9:])
                if said["event"] == "end" and decode_attempt(said, header).status is QuantumStatus.SUCCEEDED:
                    found[bytes.fromhex(said["quantum"])] += 1
        return list(found.values())

    def outputs(self) -> dict[str, bytes]:
        """Return every file of science that the run made, with its bytes."""
        folder = self.root / RUN
        files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix == ".json")
        return {str(p.relative_to(folder)): p.read_bytes() for p in files}
