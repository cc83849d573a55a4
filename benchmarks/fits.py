"""A step that needs long for what its quanta share, and little for each: what bundles are for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from graphbuilder.builder import GraphBuilder
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.pipelines.pipeline import Pipeline
from supertask.quanta import Quantum
from supertask.repograph.graph import RepoGraph
from supertask.rows import FileRecord
from supertask.tasks.bundles import Bundle
from supertask.tasks.overheads import overhead
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

__all__ = ["AloneTask", "CountTask", "EachTask", "FitConfig", "FitTask", "fits"]


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


class CountConfig(SuperTaskConfig):
    """Nothing is written."""

    quantum_units = ("object",)
    spectrum = InputField(units=("object",), storage="json", doc="Spectrum of a star.")


class CountTask(SuperTask):
    """Does nothing for a whole bundle at once, as a batch of Luigi's does."""

    ConfigClass = CountConfig
    _DefaultName = "count"

    def defineQuanta(self, repoGraph: RepoGraph) -> list[Quantum]:
        """Make one for each star."""
        spectrum = self.config.spectrum
        return [Quantum({spectrum: {s}}, {}) for s in repoGraph.datasets[spectrum]]

    def runBundle(self, bundle: Bundle, butler: Any) -> None:
        """Take note of how many there are."""
        len(bundle)


class EachTask(CountTask):
    """Does nothing for each quantum of a bundle, in a block of its own."""

    _DefaultName = "each"

    def runBundle(self, bundle: Bundle, butler: Any) -> None:
        """Turn to each."""
        for item in bundle:
            with item:
                pass


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
        config = FitConfig(loading=loading, fitting=fitting) if task.ConfigClass is FitConfig else None
        pipeline.add("fit", task, config=config)
        return GraphBuilder(pipeline, butler, "u/bench/fit").makeGraph()
