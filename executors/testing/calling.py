"""Tasks that ask for all that can surround a call: tags, environment, folder, progress, state, cache, tokens.

They stand here, and not beside the contract, so that jobs can import them without what plans.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

from supertask.configs.config import field
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.errors import TransientError
from supertask.tasks.caching import cache
from supertask.tasks.configurable import ConfigurableField
from supertask.tasks.hooks import JobRequest, SubmitHook, needs, submit_hook
from supertask.tasks.initsteps import InitStep
from supertask.tasks.pathfields import PathField
from supertask.tasks.struct import Struct
from supertask.tasks.supertask import SuperTask

__all__ = ["ApplyTask", "LearnTask"]

_UNITS = ("visit", "detector")
_WHILE = 0.05
"""Seconds that a quantum which needs a token takes."""


class LearnConfig(SuperTaskConfig):
    """Configuration of `LearnTask`."""

    quantum_units = ("detector",)
    raw = InputField(units=_UNITS, storage="json", doc="Raw frames.")
    weights = OutputField(units=("detector",), storage="json", doc="What was learned.")
    order: int = field(2, doc="Order of the model.", tag="order")


class LearnTask(SuperTask):
    """Learns from all frames of a detector."""

    ConfigClass = LearnConfig
    _DefaultName = "learn"
    tags: ClassVar = {"stage": "training"}

    def run(self, raw: list[dict[str, Any]]) -> Struct:
        """Sum."""
        self.progress(0.4, "fitting")
        return Struct(weights={"sum": sum(each["value"] for each in raw)})


class LoadModel(InitStep):
    """Restores a model from what was learned."""

    _DefaultName = "loadModel"

    def restore(self, weights: dict[str, Any]) -> dict[str, Any]:
        """Take the sum."""
        return {"model": weights["sum"]}


@submit_hook
class Licence(SubmitHook):
    """Names a server of licences; notes in the file that $HOOKED names that it was asked."""

    server: str

    def process(self, job: JobRequest) -> JobRequest:
        """Set the variable."""
        if "HOOKED" in os.environ:
            with Path(os.environ["HOOKED"]).open("a", encoding="utf-8") as file:
                file.write("x")
        return job.with_environ(LICENCE=self.server)


class ApplyConfig(SuperTaskConfig):
    """Configuration of `ApplyTask`."""

    quantum_units = _UNITS
    raw = InputField(units=_UNITS, storage="json", doc="A raw frame.")
    weights = InputField(units=("detector",), storage="json", doc="What was learned.")
    model = ConfigurableField(LoadModel, doc="The model, restored.")
    result = OutputField(units=_UNITS, storage="json", doc="Result.")
    notes = PathField("notes/run.txt", doc="One line for each attempt.")
    calls: str = field("", doc="File outside of the repository that notes begin and end of calls.", meta=True)
    stumbles: bool = field(False, doc="Whether the first attempt at each quantum fails.", meta=True)


@needs(Licence("host:27000"))
class ApplyTask(SuperTask):
    """Applies the model to a frame, one quantum after another."""

    ConfigClass = ApplyConfig
    _DefaultName = "apply"
    tokens: ClassVar = {"licence": 1}

    @cache()
    def table(self, n: int) -> list[int]:
        """Say that it is computed, and do it."""
        self._note("computed")
        return list(range(n))

    def run(self, raw: dict[str, Any], model: dict[str, Any]) -> Struct:
        """Tell what surrounds the call."""
        self._note("begin")
        print(f"applies to {raw['value']}")  # noqa: T201 - to be found in the job's folder
        with self.path("notes").open("a", encoding="utf-8") as notes:
            notes.write(f"attempt {self.call.number}\n")
        time.sleep(_WHILE)
        self._note("end")
        config: Any = self.config
        if config.stumbles and self.call.number == 1:
            raise TransientError("the first attempt stumbles")
        result = {
            "value": raw["value"] + model["model"],
            "licence": os.environ["LICENCE"],
            "tags": dict(self.call.tags),
            "table": self.table(3),
        }
        return Struct(result=result)

    def _note(self, what: str) -> None:
        config: Any = self.config
        with Path(config.calls).open("a", encoding="utf-8") as file:
            file.write(f"{what}\n")
