"""Tasks whose quanta fall short of something, for tests of reasons."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from surveys import CoaddConfig, CoaddTask

from supertask.connections.fields import CalibrationField, InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.tasks.supertask import SuperTask

DARK = Dataset.subclass("dark", ("detector",), "json")
FOCUS = Dataset.subclass("focus", ("exposure",), "json")
REFCAT = Dataset.subclass("refcat", ("patch",), "json")


class DarkConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(
        units=("exposure", "detector"), storage="json", select={"exposure.obs_type": "science"}, doc="Raw."
    )
    dark = CalibrationField(units=("detector",), storage="json", doc="Dark.")
    out = OutputField(units=("exposure", "detector"), storage="json", doc="Out.")


class DarkTask(SuperTask):
    """Needs a dark that is valid at the time."""

    ConfigClass = DarkConfig
    _DefaultName = "subtract"


class FocusConfig(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(
        units=("exposure", "detector"), storage="json", select={"exposure.obs_type": "science"}, doc="Raw."
    )
    focus = InputField(
        units=("exposure",), storage="json", when="nearest", max_gap=timedelta(hours=36), doc="Focus."
    )
    sharp = OutputField(units=("exposure", "detector"), storage="json", doc="Out.")


class FocusTask(SuperTask):
    """Needs a focus run within a day and a half."""

    ConfigClass = FocusConfig
    _DefaultName = "focus"


class MatchConfig(SuperTaskConfig):
    quantum_units = ("visit", "patch")
    warp = InputField(units=("visit", "patch"), storage="json", doc="Warp.")
    refcat = InputField(units=("patch",), storage="json", doc="Reference catalogue.")
    matches = OutputField(units=("visit", "patch"), storage="json", doc="Matches.")


class MatchTask(SuperTask):
    """Needs a reference catalogue of its patch."""

    ConfigClass = MatchConfig
    _DefaultName = "match"


class StackConfig(SuperTaskConfig):
    quantum_units = ("patch", "band")
    warps = InputField(
        units=("visit", "patch"), storage="json", name="warp", multiple=True, minimum=2, doc="Warps."
    )
    coadd = OutputField(units=("patch", "band"), storage="json", doc="Coadd.")


class StackTask(SuperTask):
    """Needs two warps at least."""

    ConfigClass = StackConfig
    _DefaultName = "coadd"


class DeepTask(CoaddTask):
    """Leaves out shallow coadds by itself."""

    ConfigClass = CoaddConfig

    def adjustQuanta(self, quanta: Any, repoGraph: Any) -> Any:
        return quanta.where(quanta.counts(self.config.warps) > 1, "coadds of two warps or more")


class PickyTask(CoaddTask):
    """Makes no quantum of patch 1, and does not say why."""

    ConfigClass = CoaddConfig

    def defineQuanta(self, repoGraph: Any) -> Any:
        quanta = repoGraph.group(self.config.warps, by=("patch", "band"))
        kept = quanta.table.take((quanta.column("patch") != 1).nonzero()[0])
        return type(quanta)(quanta.graph, kept, quanta.steps).produce(self.config.coadd)
