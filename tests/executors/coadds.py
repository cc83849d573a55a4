"""The shape of a coadd pipeline on numbers: isr, warp onto patches, coadd of visits, catalogue of bands."""

from __future__ import annotations

from pathlib import Path

from graphbuilder.builder import GraphBuilder
from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.errors import NoWork
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

RAW = Dataset.subclass("raw", ("exposure", "detector"), "json")
DETECTORS = (0, 1)


class IsrConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(units=("exposure", "detector"), storage="json", doc="Raw frame.")
    image = OutputField(units=("exposure", "detector"), storage="json", doc="Reduced frame.")
    empty: list[int] = field([], doc="Exposures without work.", meta=True)


class IsrTask(SuperTask):
    ConfigClass = IsrConfig
    _DefaultName = "isr"

    def run(self, raw, dataId):
        if dataId["exposure"] in self.config.empty:
            raise NoWork("the shutter was closed")
        return Struct(image=raw["value"])


class WarpConfig(SuperTaskConfig):
    quantum_units = ("visit", "patch")
    image = InputField(units=("exposure", "detector"), storage="json", doc="Reduced frames.")
    warp = OutputField(units=("visit", "patch"), storage="json", doc="Warped image.")
    kernel: str = field("lanczos3", doc="Kernel.")


class WarpTask(SuperTask):
    ConfigClass = WarpConfig
    _DefaultName = "warp"

    def run(self, image):
        return Struct(warp=[self.config.kernel, sum(image)])


class CoaddConfig(SuperTaskConfig):
    quantum_units = ("patch", "band")
    warp = InputField(units=("visit", "patch"), storage="json", doc="Warped images.")
    coadd = OutputField(units=("patch", "band"), storage="json", doc="Sum of them.")
    mask = OutputField(units=("patch", "band"), storage="json", doc="Where it is bad.", minimum=0)


class CoaddTask(SuperTask):
    ConfigClass = CoaddConfig
    _DefaultName = "coadd"

    def run(self, warp):
        return Struct(coadd=sum(value for _, value in warp), mask=None)


class CatalogueConfig(SuperTaskConfig):
    quantum_units = ("patch",)
    coadd = InputField(units=("patch", "band"), storage="json", doc="Coadds.")
    catalogue = OutputField(units=("patch",), storage="json", doc="What is on them.")


class CatalogueTask(SuperTask):
    ConfigClass = CatalogueConfig
    _DefaultName = "catalogue"

    def run(self, coadd):
        return Struct(catalogue=sorted(coadd))


def make_repository(root: Path) -> Butler:
    """Three visits in a row, each on two of four patches."""
    butler = Butler.create(root)
    butler.insert_units("instrument", [{"instrument": "Cam"}])
    butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in DETECTORS])
    butler.insert_units("band", [{"band": "r"}])
    butler.insert_units("physical_filter", [{"instrument": "Cam", "physical_filter": "R", "band": "r"}])
    butler.insert_units("skymap", [{"skymap": "sky"}])
    butler.insert_units("tract", [{"skymap": "sky", "tract": 0}])
    butler.insert_units(
        "patch", [{"skymap": "sky", "tract": 0, "patch": p, "x": p, "y": 0} for p in range(4)]
    )
    butler.create_collection("raw", CollectionKind.RUN)
    for visit in range(3):
        add_exposure(butler, visit, patches=(visit, visit + 1))
    return butler


def add_exposure(butler: Butler, visit: int, *, patches: tuple[int, ...]) -> None:
    butler.insert_units("visit", [{"instrument": "Cam", "visit": visit, "physical_filter": "R"}])
    butler.insert_units(
        "exposure",
        [
            {
                "instrument": "Cam",
                "exposure": 100 + visit,
                "visit": visit,
                "physical_filter": "R",
                "obs_type": "science",
            }
        ],
    )
    butler.insert_relation(
        "overlap",
        [
            {"instrument": "Cam", "visit": visit, "detector": d, "skymap": "sky", "tract": 0, "patch": p}
            for d in DETECTORS
            for p in patches
        ],
    )
    for d in DETECTORS:
        butler.put(
            {"value": 10 * visit + d}, RAW(instrument="Cam", exposure=100 + visit, detector=d), run="raw"
        )


def pipeline(*, kernel: str = "lanczos3", isr=IsrTask, empty=()) -> Pipeline:
    made = Pipeline("Make coadds.")
    made.add("isr", isr, isr.ConfigClass(empty=list(empty)))
    made.add("warp", WarpTask, WarpConfig(kernel=kernel))
    made.add("coadd", CoaddTask)
    made.add("catalogue", CatalogueTask)
    return made


def plan(butler: Butler, run: str, where: str = "", *, reuse=None, **configured):
    builder = GraphBuilder(pipeline(**configured), butler, run, collections=["raw"])
    return builder.makeGraph(where, reuse=reuse)


def counts(dag) -> dict[str, int]:
    """Label → how many quanta of it the plan has."""
    return {t.label: t.count for t in dag.tasks}
