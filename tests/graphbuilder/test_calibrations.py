"""Calibrations looked up by the time for which they are valid."""

from __future__ import annotations

from typing import Any

import pytest
from surveys import RAW

from graphbuilder.builder import GraphBuilder
from supertask.butler.port import AbstractButler, CollectionKind
from supertask.connections.fields import CalibrationField, InputField, OutputField, SuperTaskConfig
from supertask.datasets import Dataset
from supertask.pipelines.pipeline import Pipeline
from supertask.tasks.supertask import SuperTask

DARK = Dataset.subclass("dark", ("detector",), "json")
DAY = 86_400_000_000_000


class _Config(SuperTaskConfig):
    quantum_units = ("exposure", "detector")
    raw = InputField(
        units=("exposure", "detector"), storage="json", select={"exposure.obs_type": "science"}, doc="Raw."
    )
    dark = CalibrationField(units=("detector",), storage="json", doc="Dark.")
    out = OutputField(units=("exposure", "detector"), storage="json", doc="Out.")


class SubtractDark(SuperTask):
    ConfigClass = _Config
    _DefaultName = "subtract"


@pytest.fixture
def certified(butler: AbstractButler) -> AbstractButler:
    """Four nights, 201 to 204; detector 0 has two darks one after the other, detector 1 one until night 2."""
    for night in range(4):
        butler.insert_units(
            "visit",
            [{"instrument": "Cam", "visit": 20 + night, "physical_filter": "G1", "obs_time": night * DAY}],
        )
        butler.insert_units(
            "exposure",
            [
                {
                    "instrument": "Cam",
                    "exposure": 201 + night,
                    "visit": 20 + night,
                    "physical_filter": "G1",
                    "obs_type": "science",
                    "obs_time": night * DAY,
                }
            ],
        )
        for detector in (0, 1):
            butler.put(
                {"sum": 0}, RAW(instrument="Cam", exposure=201 + night, detector=detector), run="raw/all"
            )
    butler.register_type(DARK)
    butler.create_collection("calibs", CollectionKind.CALIBRATION)
    for run, begin, end, detectors in (("d/1", 0, 2 * DAY, (0, 1)), ("d/2", 2 * DAY, None, (0,))):
        butler.create_collection(run, CollectionKind.RUN)
        darks = [butler.put({"sum": 0}, DARK(instrument="Cam", detector=d), run=run) for d in detectors]
        butler.certify("calibs", darks, begin, end, run=run)
    return butler


def plan(butler: AbstractButler, collections: Any) -> dict[tuple[Any, Any], str]:
    """Return (exposure, detector) → the location of its dark."""
    tasks = Pipeline().add("subtract", SubtractDark)
    dag = GraphBuilder(tasks, butler, "u/run", collections=collections).makeGraph("exposure > 200")
    found = {}
    for i in range(len(dag)):
        record = dag.record(i)
        (dark,) = record.quantum.inputs[DARK]
        found[record.quantum.dataId["exposure"], record.quantum.dataId["detector"]] = record.locations[dark]
    return found


def test_each_exposure_gets_the_dark_of_its_night(certified: AbstractButler) -> None:
    found = plan(certified, ["raw/all", "calibs"])
    # Detector 1 has no dark from the third night on: those quanta are left out.
    assert set(found) == {(201, 0), (202, 0), (203, 0), (204, 0), (201, 1), (202, 1)}
    assert {e for (e, _), place in found.items() if "d/1" in place} == {201, 202}
    assert {e for (e, _), place in found.items() if "d/2" in place} == {203, 204}


def test_the_first_calibration_collection_that_has_one_wins(certified: AbstractButler) -> None:
    certified.create_collection("d/3", CollectionKind.RUN)
    certified.create_collection("override", CollectionKind.CALIBRATION)
    dark = certified.put({"sum": 0}, DARK(instrument="Cam", detector=0), run="d/3")
    certified.certify("override", [dark], DAY, 3 * DAY, run="d/3")
    found = plan(certified, ["raw/all", "override", "calibs"])
    assert {e: p.split("/dark")[0] for (e, d), p in found.items() if d == 0} == {
        201: "d/1",
        202: "d/3",
        203: "d/3",
        204: "d/2",
    }


def test_without_certification_calibrations_are_found_in_runs(certified: AbstractButler) -> None:
    found = plan(certified, ["raw/all", "d/1"])
    assert len(found) == 8
    assert all("d/1" in place for place in found.values())
