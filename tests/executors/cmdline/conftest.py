"""A small survey, steps of a pipeline, and the program called as a user calls it."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import attrs
import pytest

from executors.cmdline.main import main
from supertask.butler.repository import Butler
from supertask.datasets import Dataset

STEPS = """
import os

from supertask import InputField, NoWork, OutputField, Struct, SuperTask, SuperTaskConfig, field


class SkyConfig(SuperTaskConfig):
    quantum_units = ("visit", "detector")
    frame = InputField(units=("visit", "detector"), storage="json", doc="A frame.")
    sky = OutputField(units=("visit", "detector"), storage="json", doc="Its sky level.")
    factor: float = field(1.0, doc="Multiply by this.", unit="adu")
    fail: list[int] = field([], doc="Visits to fail at.")
    empty: list[int] = field([], doc="Visits that have nothing.")
    end: bool = field(False, doc="End the process instead of raising.")


class SkyTask(SuperTask):
    ConfigClass = SkyConfig
    _DefaultName = "sky"

    def run(self, frame, dataId):
        if dataId["visit"] in self.config.empty:
            raise NoWork("nothing there")
        if dataId["visit"] in self.config.fail:
            if self.config.end:
                os._exit(7)
            raise ValueError(f"visit {dataId['visit']} is too bright")
        return Struct(sky=frame * self.config.factor)


class NightConfig(SuperTaskConfig):
    quantum_units = ("visit",)
    sky = InputField(units=("visit", "detector"), storage="json", doc="Sky levels.")
    night = OutputField(units=("visit",), storage="json", doc="Their sum.")


class NightTask(SuperTask):
    ConfigClass = NightConfig
    _DefaultName = "night"

    def run(self, sky):
        return Struct(night=sum(sky))
"""

PIPELINE = """
description: Sky levels
tasks:
  sky:
    class: cmdline_steps:SkyTask
    config: {factor: 2}
  night: cmdline_steps:NightTask
"""


@attrs.frozen
class Said:
    """What one call of the program gave."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict]:
        """Its JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """The program sets up logging for its process; here that is not its own."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]):
    """Call the program as its user does, in this process."""

    def program(*words: object) -> Said:
        code = main([str(w) for w in words])
        return Said(code, *capfd.readouterr())

    return program


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with a repository `repo` of 6 visits by 2 detectors, `pipeline.yaml` and its steps."""
    (tmp_path / "cmdline_steps.py").write_text(STEPS)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "cmdline_steps", raising=False)
    frame = Dataset.subclass("frame", ("visit", "detector"), "json")
    Butler.create("repo", "imaging").close()
    with Butler("repo", run="raw/all") as butler:
        butler.insert_units("instrument", [{"instrument": "Cam"}])
        butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in range(2)])
        butler.insert_units(
            "visit", [{"instrument": "Cam", "visit": v, "object": "M31"} for v in range(1, 7)]
        )
        butler.register_type(frame)
        for visit in range(1, 7):
            for detector in range(2):
                butler.put(visit * 10 + detector, frame, instrument="Cam", visit=visit, detector=detector)
    return tmp_path
