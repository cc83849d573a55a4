"""A step that needs long for what its quanta share, and little for each: what bundles are for."""

from __future__ import annotations

import time
from pathlib import Path

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.config import field
from supertask.datasets import Dataset
from supertask.fields import InputField, OutputField, SuperTaskConfig
from supertask.overheads import overhead
from supertask.pipeline import Pipeline
from supertask.rows import FileRecord
from supertask.struct import Struct
from supertask.supertask import SuperTask

__all__ = ["AloneTask", "FitConfig", "FitTask", "fits"]


class FitConfig(SuperTaskConfig):
    """Times in seconds."""

    quantum_units = ("object",)
    spectrum = InputField(units=("object",), storage="json", doc="Spectrum of a star.")
    labels = OutputField(units=("object",), storage="json", doc="What was fitted.")
    loading: float = field(1.0, doc="How long the model takes to load.", overhead=True)
    fitting: float = field(0.01, doc="How long a fit takes.")


class FitTask(SuperTask):
    """Fits by waiting, so that neighbours on the machine do not matter."""

    ConfigClass = FitConfig
    _DefaultName = "fit"

    @overhead
    def model(self) -> float:
        """Load the model."""
        time.sleep(self.config.loading)
        return 1.0

    def run(self, spectrum: int) -> Struct:
        """Fit one star."""
        model = self.model()
        time.sleep(self.config.fitting)
        return Struct(labels=model * spectrum)


class AloneTask(FitTask):
    """Loads the model for every star."""

    _DefaultName = "alone"

    def model(self) -> float:
        """Load the model."""
        time.sleep(self.config.loading)
        return 1.0


def fits(root: str, stars: int, task: type[SuperTask], loading: float, fitting: float) -> ScienceDag:
    """Make a repository of so many spectra, and a plan to fit them."""
    spectrum = Dataset.subclass("spectrum", ("object",), "json")
    with Butler.create(root, unit_model="spectra") as butler:
        butler.insert_units("object", [{"object": f"star{i:06}"} for i in range(stars)])
        butler.create_collection("stars", CollectionKind.RUN)
        butler.register_type(spectrum)
        shared = Path(root) / "stars" / "shared.json"
        shared.parent.mkdir(parents=True, exist_ok=True)
        shared.write_text("1")
        handles = [spectrum(object=f"star{i:06}") for i in range(stars)]
        place = f"file:{shared.absolute()}"
        records = [FileRecord(h, place, 1, "", i.to_bytes(16, "big")) for i, h in enumerate(handles)]
        butler.register("stars", records)
        pipeline = Pipeline(description="Fit stars.")
        pipeline.add("fit", task, config=FitConfig(loading=loading, fitting=fitting))
        return GraphBuilder(pipeline, butler, "u/bench/fit").makeGraph()
