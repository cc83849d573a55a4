"""A small survey in a Butler, and a pipeline over it, for tests of planning."""

from __future__ import annotations

from typing import Any

import attrs

from supertask.butler.port import AbstractButler, CollectionKind
from supertask.connections.fields import CalibrationField, InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.pipelines.pipeline import Pipeline
from supertask.quanta import Quantum
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

RAW = Dataset.subclass("raw", ("exposure", "detector"), "json")
FLAT = Dataset.subclass("flat", ("detector", "physical_filter"), "json")

FILTERS = {"G1": "g", "R1": "r"}
VISITS = {1: "G1", 2: "R1", 3: "R1", 4: "G1"}
DETECTORS = (0, 1)
# Visit 1 and 2 lie on patches 0 and 1, visit 3 on 1 and 2, visit 4 on nothing.
OVERLAP = {1: {0: (0,), 1: (0, 1)}, 2: {0: (0,), 1: (1,)}, 3: {0: (1,), 1: (2,)}, 4: {}}


def fill(butler: AbstractButler) -> AbstractButler:
    """Fill an empty Butler with four visits, two biases, flats and the overlap with three patches."""
    butler.insert_units("instrument", [{"instrument": "Cam"}])
    butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in DETECTORS])
    butler.insert_units("band", [{"band": b} for b in FILTERS.values()])
    butler.insert_units(
        "physical_filter",
        [{"instrument": "Cam", "physical_filter": f, "band": b} for f, b in FILTERS.items()],
    )
    butler.insert_units(
        "visit",
        [
            {"instrument": "Cam", "visit": v, "physical_filter": f, "exposure_time": 10.0 * v}
            for v, f in VISITS.items()
        ],
    )
    butler.insert_units(
        "exposure",
        [
            {
                "instrument": "Cam",
                "exposure": 100 + v,
                "visit": v,
                "physical_filter": f,
                "obs_type": "science",
            }
            for v, f in VISITS.items()
        ]
        + [{"instrument": "Cam", "exposure": e, "obs_type": "bias"} for e in (901, 902)],
    )
    butler.insert_units("skymap", [{"skymap": "sky"}])
    butler.insert_units("tract", [{"skymap": "sky", "tract": 0}])
    butler.insert_units(
        "patch", [{"skymap": "sky", "tract": 0, "patch": p, "x": p, "y": 0} for p in range(3)]
    )
    butler.insert_relation(
        "overlap",
        [
            {"instrument": "Cam", "visit": v, "detector": d, "skymap": "sky", "tract": 0, "patch": p}
            for v, by_detector in OVERLAP.items()
            for d, patches in by_detector.items()
            for p in patches
        ],
    )
    butler.create_collection("raw/all", CollectionKind.RUN)
    butler.create_collection("calib", CollectionKind.RUN)
    butler.register_type(RAW)
    butler.register_type(FLAT)
    for exposure in (*(100 + v for v in VISITS), 901, 902):
        for detector in DETECTORS:
            value = {"sum": exposure + detector}
            butler.put(value, RAW(instrument="Cam", exposure=exposure, detector=detector), run="raw/all")
    for detector in DETECTORS:
        for name in FILTERS:
            flat = FLAT(instrument="Cam", detector=detector, physical_filter=name)
            butler.put({"sum": 1}, flat, run="calib")
    return butler


def total(*values: Any) -> dict[str, int]:
    """Add up what datasets hold."""
    flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return {"sum": sum(v["sum"] for v in flat)}


class BiasConfig(SuperTaskConfig):
    quantum_units = ("detector",)
    raws = InputField(
        units=("exposure", "detector"),
        storage="json",
        name="raw",
        multiple=True,
        select={"exposure.obs_type": "bias"},
        doc="Bias frames.",
    )
    bias = OutputField(units=("detector",), storage="json", doc="Master bias.")


class BiasTask(SuperTask):
    ConfigClass = BiasConfig
    _DefaultName = "bias"

    def run(self, raws: list[dict[str, int]]) -> Struct:
        return Struct(bias=total(raws))


class IsrConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(
        units=("exposure", "detector"),
        storage="json",
        select={"exposure.obs_type": "science"},
        doc="Raw frame.",
    )
    bias = CalibrationField(units=("detector",), storage="json", doc="Master bias.")
    flat = CalibrationField(units=("detector", "physical_filter"), storage="json", doc="Flat.")
    postisr = OutputField(units=("exposure", "detector"), storage="json", doc="Reduced frame.")


class IsrTask(SuperTask):
    ConfigClass = IsrConfig
    _DefaultName = "isr"

    def run(self, raw: dict[str, int], bias: dict[str, int], flat: dict[str, int]) -> Struct:
        return Struct(postisr=total(raw, bias, flat))


class CalibrateConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    exposures = InputField(
        units=("exposure", "detector"), storage="json", name="postisr", multiple=True, doc="Reduced frames."
    )
    calexp = OutputField(units=("visit", "detector"), storage="json", doc="Calibrated frame.")


class CalibrateTask(SuperTask):
    ConfigClass = CalibrateConfig
    _DefaultName = "calibrate"

    def run(self, exposures: list[dict[str, int]]) -> Struct:
        return Struct(calexp=total(exposures))


class WarpConfig(SuperTaskConfig):
    quantum_units = ("visit", "patch")
    calexps = InputField(
        units=("visit", "detector"), storage="json", name="calexp", multiple=True, doc="Calibrated frames."
    )
    warp = OutputField(units=("visit", "patch"), storage="json", doc="Warp.")


class WarpTask(SuperTask):
    ConfigClass = WarpConfig
    _DefaultName = "warp"

    def run(self, calexps: list[dict[str, int]]) -> Struct:
        return Struct(warp=total(calexps))


class CoaddConfig(SuperTaskConfig):
    quantum_units = ("patch", "band")
    warps = InputField(units=("visit", "patch"), storage="json", name="warp", multiple=True, doc="Warps.")
    coadd = OutputField(units=("patch", "band"), storage="json", doc="Coadd.")


class CoaddTask(SuperTask):
    """Grouped: says itself how warps are gathered."""

    ConfigClass = CoaddConfig
    _DefaultName = "coadd"

    def defineQuanta(self, repoGraph: Any) -> Any:
        return repoGraph.group(self.config.warps, by=("patch", "band")).produce(self.config.coadd)

    def run(self, warps: list[dict[str, int]]) -> Struct:
        return Struct(coadd=total(warps))


@attrs.frozen
class Weights:
    """Parameters of a quantum."""

    factor: float = 1.0


class MergeConfig(SuperTaskConfig):
    quantum_units = ("patch",)
    coadds = InputField(units=("patch", "band"), storage="json", name="coadd", multiple=True, doc="Coadds.")
    merged = OutputField(units=("patch",), storage="json", doc="Merged.")


class MergeTask(SuperTask):
    """By hand: a Python loop."""

    ConfigClass = MergeConfig
    _DefaultName = "merge"

    def defineQuanta(self, repoGraph: Any) -> list[Quantum]:
        coadd, merged = self.config.coadds, self.config.merged
        groups: dict[Any, set[Dataset]] = {}
        for dataset in repoGraph.datasets[coadd]:
            groups.setdefault(dataset.dataId.subset(("skymap", "tract", "patch")), set()).add(dataset)
        return [
            Quantum(
                {coadd: inputs},
                {merged: {repoGraph.addDataset(merged(dataId))}},
                parameters=Weights(float(dataId["patch"])),
            )
            for dataId, inputs in groups.items()
        ]

    def run(self, coadds: list[dict[str, int]]) -> Struct:
        return Struct(merged=total(coadds))


TASKS = (BiasTask, IsrTask, CalibrateTask, WarpTask, CoaddTask, MergeTask)


def pipeline(*leave_out: str) -> Pipeline:
    """Return the pipeline of all tasks but some."""
    made = Pipeline(description="A survey in small.")
    for task in TASKS:
        if task._DefaultName not in leave_out:
            made.add(task._DefaultName, task)
    return made
