"""A DRP-like workload: what every benchmark of planning and execution is measured on.

Visits of 100 detectors in six bands, 30 of them at each pointing; every detector overlaps 2 × 2
patches, and the relation is stored in random order. Seven tasks: 1:1, shared calibrations, a gather
per visit, a spatial join, a gather per patch and band, 1:1, and a merge of bands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.connections.fields import CalibrationField, InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import NoWork
from supertask.pipelines.pipeline import Pipeline
from supertask.quanta import Quantum
from supertask.repograph.graph import RepoGraph
from supertask.rows import FileRecord, RelationRows
from supertask.tasks.supertask import SuperTask

__all__ = ["PER_VISIT", "make_repository", "pipeline", "visits_for"]

DETECTORS = 100
BANDS = "ugrizy"
DEPTH = 30
SIDE = 10
PER_VISIT = 391
"""Quanta for each visit, as it comes out at large sizes."""


class NoOp(SuperTask):
    """Writes the number 1 to each output and reads nothing."""

    def runQuantum(self, quantum: Quantum, butler: Any) -> None:
        for datasets in quantum.outputs.values():
            for dataset in datasets:
                butler.put(1, dataset)


class IsrConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(units=("exposure", "detector"), storage="json", doc="Raw frame.")
    postisr = OutputField(units=("exposure", "detector"), storage="json", doc="Reduced frame.")


class IsrTask(NoOp):
    ConfigClass = IsrConfig
    _DefaultName = "isr"


class IdleTask(SuperTask):
    """Finds no work: what is left is what running a quantum costs."""

    ConfigClass = IsrConfig
    _DefaultName = "idle"

    def runQuantum(self, quantum: Quantum, butler: Any) -> None:
        raise NoWork


class CalibrateConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    postisr = InputField(units=("exposure", "detector"), storage="json", doc="Reduced frame.")
    bias = CalibrationField(units=("detector",), storage="json", doc="Bias.")
    dark = CalibrationField(units=("detector",), storage="json", doc="Dark.")
    flat = CalibrationField(units=("detector", "physical_filter"), storage="json", doc="Flat.")
    calexp = OutputField(units=("visit", "detector"), storage="json", doc="Calibrated frame.")
    src = OutputField(units=("visit", "detector"), storage="json", doc="Sources.")


class CalibrateTask(NoOp):
    ConfigClass = CalibrateConfig
    _DefaultName = "calibrate"


class SummaryConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    src = InputField(units=("visit", "detector"), storage="json", doc="Sources.")
    summary = OutputField(units=("visit",), storage="json", doc="Summary of a visit.")


class SummaryTask(NoOp):
    ConfigClass = SummaryConfig
    _DefaultName = "summary"


class WarpConfig(SuperTaskConfig):
    quantum_units = ("visit", "patch")
    calexp = InputField(units=("visit", "detector"), storage="json", doc="Calibrated frame.")
    summary = InputField(units=("visit",), storage="json", doc="Summary of a visit.")
    warp = OutputField(units=("visit", "patch"), storage="json", doc="Warp.")


class WarpTask(NoOp):
    ConfigClass = WarpConfig
    _DefaultName = "warp"


class CoaddConfig(SuperTaskConfig):
    quantum_units = ("patch", "band")
    warp = InputField(units=("visit", "patch"), storage="json", doc="Warp.")
    coadd = OutputField(units=("patch", "band"), storage="json", doc="Coadd.")


class CoaddTask(NoOp):
    ConfigClass = CoaddConfig
    _DefaultName = "coadd"


class DetectConfig(SuperTaskConfig):
    quantum_units = ("patch", "band")
    coadd = InputField(units=("patch", "band"), storage="json", doc="Coadd.")
    detections = OutputField(units=("patch", "band"), storage="json", doc="Detections.")


class DetectTask(NoOp):
    ConfigClass = DetectConfig
    _DefaultName = "detect"


class MergeConfig(SuperTaskConfig):
    quantum_units = ("patch",)
    detections = InputField(units=("patch", "band"), storage="json", doc="Detections.")
    merged = OutputField(units=("patch",), storage="json", doc="Merged detections.")


class MergeTask(NoOp):
    ConfigClass = MergeConfig
    _DefaultName = "merge"


class _ByHand(NoOp):
    """The same quanta, each made by a Python loop."""

    def _gather(
        self, repoGraph: RepoGraph, source: Any, target: Any, units: tuple[str, ...]
    ) -> list[Quantum]:
        groups: dict[Any, set[Dataset]] = {}
        for dataset in repoGraph.datasets[source]:
            groups.setdefault(dataset.dataId.subset(units), set()).add(dataset)
        return [
            Quantum({source: inputs}, {target: {repoGraph.addDataset(target(dataId))}})
            for dataId, inputs in groups.items()
        ]


class IsrByHandTask(_ByHand):
    ConfigClass = IsrConfig
    _DefaultName = "isr"

    def defineQuanta(self, repoGraph: RepoGraph) -> list[Quantum]:
        raw, postisr = self.config.raw, self.config.postisr
        return [
            Quantum({raw: {r}}, {postisr: {repoGraph.addDataset(postisr(r.dataId))}})
            for r in repoGraph.datasets[raw]
        ]


class SummaryByHandTask(_ByHand):
    ConfigClass = SummaryConfig
    _DefaultName = "summary"

    def defineQuanta(self, repoGraph: RepoGraph) -> list[Quantum]:
        return self._gather(repoGraph, self.config.src, self.config.summary, ("instrument", "visit"))


class DetectByHandTask(_ByHand):
    ConfigClass = DetectConfig
    _DefaultName = "detect"

    def defineQuanta(self, repoGraph: RepoGraph) -> list[Quantum]:
        coadd, detections = self.config.coadd, self.config.detections
        return [
            Quantum({coadd: {c}}, {detections: {repoGraph.addDataset(detections(c.dataId))}})
            for c in repoGraph.datasets[coadd]
        ]


class MergeByHandTask(_ByHand):
    ConfigClass = MergeConfig
    _DefaultName = "merge"

    def defineQuanta(self, repoGraph: RepoGraph) -> list[Quantum]:
        units = ("skymap", "tract", "patch")
        return self._gather(repoGraph, self.config.detections, self.config.merged, units)


class CalibrateByHandTask(_ByHand):
    ConfigClass = CalibrateConfig
    _DefaultName = "calibrate"

    def defineQuanta(self, repoGraph: RepoGraph) -> list[Quantum]:
        config = self.config
        frames = repoGraph.datasets[config.postisr]
        bias = {d["detector"]: d for d in repoGraph.datasets[config.bias]}
        dark = {d["detector"]: d for d in repoGraph.datasets[config.dark]}
        flat = {(d["detector"], d["physical_filter"]): d for d in repoGraph.datasets[config.flat]}
        visits = repoGraph.column(config.postisr, "visit")
        filters = repoGraph.column(config.postisr, "physical_filter")
        quanta = []
        for frame, visit, glass in zip(frames, visits, filters, strict=True):
            detector = frame["detector"]
            out = {"instrument": frame["instrument"], "visit": visit, "detector": detector}
            calexp = repoGraph.addDataset(config.calexp(out))
            src = repoGraph.addDataset(config.src(calexp.dataId))
            inputs = {
                config.postisr: {frame},
                config.bias: {bias[detector]},
                config.dark: {dark[detector]},
                config.flat: {flat[detector, glass]},
            }
            quanta.append(Quantum(inputs, {config.calexp: {calexp}, config.src: {src}}))
        return quanta


class WarpByHandTask(_ByHand):
    ConfigClass = WarpConfig
    _DefaultName = "warp"

    def defineQuanta(self, repoGraph: RepoGraph) -> list[Quantum]:
        config = self.config
        summaries = {d["visit"]: d for d in repoGraph.datasets[config.summary]}
        frames = {(d["visit"], d["detector"]): d for d in repoGraph.datasets[config.calexp]}
        inputs: dict[Any, set[Dataset]] = {}
        units = ("instrument", "visit", "skymap", "tract", "patch")
        for pair in repoGraph.related("overlap"):
            inputs.setdefault(pair.subset(units), set()).add(frames[pair["visit"], pair["detector"]])
        return [
            Quantum(
                {config.calexp: found, config.summary: {summaries[dataId["visit"]]}},
                {config.warp: {repoGraph.addDataset(config.warp(dataId))}},
            )
            for dataId, found in inputs.items()
        ]


class CoaddByHandTask(_ByHand):
    ConfigClass = CoaddConfig
    _DefaultName = "coadd"

    def defineQuanta(self, repoGraph: RepoGraph) -> list[Quantum]:
        config = self.config
        warps = repoGraph.datasets[config.warp]
        inputs: dict[Any, set[Dataset]] = {}
        for warp, band in zip(warps, repoGraph.column(config.warp, "band"), strict=True):
            inputs.setdefault((warp["skymap"], warp["tract"], warp["patch"], band), set()).add(warp)
        quanta = []
        for (skymap, tract, patch, band), found in inputs.items():
            coadd = config.coadd(skymap=skymap, tract=tract, patch=patch, band=band)
            quanta.append(Quantum({config.warp: found}, {config.coadd: {repoGraph.addDataset(coadd)}}))
        return quanta


def pipeline(*, by_hand: bool = False) -> Pipeline:
    """Return the seven tasks, declared, or with Python loops."""
    declared = [IsrTask, CalibrateTask, SummaryTask, WarpTask, CoaddTask, DetectTask, MergeTask]
    loops = [
        IsrByHandTask,
        CalibrateByHandTask,
        SummaryByHandTask,
        WarpByHandTask,
        CoaddByHandTask,
        DetectByHandTask,
        MergeByHandTask,
    ]
    tasks = Pipeline(description="A DRP-like pipeline that does nothing.")
    for task in loops if by_hand else declared:
        tasks.add(task._DefaultName, task)
    return tasks


def visits_for(quanta: int) -> int:
    """Return how many visits give about so many quanta."""
    return max(1, round(quanta / PER_VISIT))


def make_repository(
    root: Path | str,
    visits: int,
    *,
    first_visit: int = 1000,
    seed: int = 1,
    tract_side: int = 0,
    registry: str | None = None,
) -> Butler:
    """Make a repository of so many visits.

    Parameters
    ----------
    root : Path
        Where; it must not exist.
    visits : int
        How many.
    first_visit : int, optional
        Number of the first one.
    seed : int, optional
        Of the dithers and of the order of the relation.
    tract_side : int, optional
        Patches along each side of a tract; one tract holds them all unless given.
    registry : str, optional
        URL of the registry's database; SQLite in `root` unless given.
    """
    root = Path(root)
    butler = Butler.create(root, unit_model="imaging", registry=registry)
    rng = np.random.default_rng(seed)
    pointings = -(-visits // DEPTH)
    across = int(np.ceil(np.sqrt(pointings)))
    side = across * (SIDE + 4) + 8
    _insert_units(butler, visits, first_visit, side, tract_side or side)
    for name, units in (
        ("bias", ("detector",)),
        ("dark", ("detector",)),
        ("flat", ("detector", "physical_filter")),
    ):
        filters = BANDS if "physical_filter" in units else "-"
        calibration = Dataset.subclass(name, units, "json")
        _register(
            butler,
            root,
            "calib",
            [
                calibration(_drop({"instrument": "Cam", "detector": d, "physical_filter": f}, units))
                for d in range(DETECTORS)
                for f in filters
            ],
        )
    raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
    for begin in range(0, visits, 500):
        numbers = range(first_visit + begin, first_visit + min(begin + 500, visits))
        handles = [raw(instrument="Cam", exposure=v, detector=d) for v in numbers for d in range(DETECTORS)]
        _register(butler, root, "raw/all", handles)
    _insert_overlaps(butler, visits, across, side, rng)
    return butler


def _insert_units(butler: Butler, visits: int, first: int, side: int, tract_side: int) -> None:
    butler.insert_units("instrument", [{"instrument": "Cam"}])
    butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in range(DETECTORS)])
    butler.insert_units("band", [{"band": b} for b in BANDS])
    butler.insert_units(
        "physical_filter", [{"instrument": "Cam", "physical_filter": b, "band": b} for b in BANDS]
    )
    rows: list[dict[str, Any]] = [
        {"instrument": "Cam", "visit": first + i, "physical_filter": BANDS[i % 6], "exposure_time": 30.0}
        for i in range(visits)
    ]
    butler.insert_units("visit", rows)
    butler.insert_units("exposure", [{**r, "exposure": r["visit"], "obs_type": "science"} for r in rows])
    butler.insert_units("skymap", [{"skymap": "sky"}])
    tracts = -(-side // tract_side)
    butler.insert_units("tract", [{"skymap": "sky", "tract": t} for t in range(tracts * tracts)])
    # Patches are numbered through all tracts, so that a patch is told by its number alone.
    butler.insert_units(
        "patch",
        [
            {
                "skymap": "sky",
                "tract": (p // side // tract_side) * tracts + p % side // tract_side,
                "patch": p,
                "x": p % side,
                "y": p // side,
            }
            for p in range(side * side)
        ],
    )


def _drop(values: dict[str, Any], units: tuple[str, ...]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k in units or k == "instrument"}


def _register(butler: Butler, root: Path, run: str, handles: list[Dataset]) -> None:
    """Register one file in place under many data IDs: what is measured is planning."""
    shared = root / "shared.json"
    if not shared.exists():
        shared.write_text(json.dumps(1))
    butler.create_collection(run, CollectionKind.RUN)
    butler.register_type(type(handles[0]))
    noise = np.random.default_rng(len(handles)).bytes(16 * len(handles))
    records = [
        FileRecord(h, butler.location_for(h, run), 1, "", noise[16 * i : 16 * i + 16])
        for i, h in enumerate(handles)
    ]
    butler.register(run, records)


def _insert_overlaps(butler: Butler, visits: int, across: int, side: int, rng: np.random.Generator) -> None:
    with butler.reader() as reader:
        ids = {}
        for unit in ("visit", "detector", "patch"):
            rows = reader.units(unit, ())
            ids[unit] = rows.ids[np.argsort(rows.keys)]
    visit, detector = np.repeat(np.arange(visits), DETECTORS), np.tile(np.arange(DETECTORS), visits)
    pointing = visit // DEPTH
    x = (pointing % across) * (SIDE + 4) + rng.integers(0, 4, visits)[visit] + detector % SIDE
    y = (pointing // across) * (SIDE + 4) + rng.integers(0, 4, visits)[visit] + detector // SIDE
    patch = (y[:, None] + [0, 0, 1, 1]) * side + x[:, None] + [0, 1, 0, 1]
    order = rng.permutation(patch.size)
    butler.insert_relation_rows(
        RelationRows(
            "overlap",
            {
                "visit": ids["visit"][np.repeat(visit, 4)[order]],
                "detector": ids["detector"][np.repeat(detector, 4)[order]],
                "patch": ids["patch"][patch.ravel()[order]],
            },
        )
    )
