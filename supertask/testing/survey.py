"""What the suites of the Butler's contract share: a small survey, and its dataset types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supertask.butler.port import AbstractButler, Reader
from supertask.conditions import (
    Compare,
    Comparison,
    Constant,
    Name,
)
from supertask.datasets import Dataset

__all__ = [
    "RUN",
    "ButlerFixtures",
    "Flat",
    "Notes",
    "Raw",
    "Summary",
    "Table",
    "equal",
    "fill_with_survey",
    "keys",
    "raw",
]

Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
Summary = Dataset.subclass("visit_summary", ("visit",), "json")
Flat = Dataset.subclass("flat", ("detector", "physical_filter"), "json")
Notes = Dataset.subclass("notes", (), "text")
Table = Dataset.subclass("curve", ("detector",), "numpy")

RUN = "raw/all"


def fill_with_survey(butler: AbstractButler) -> None:
    """Make a small survey known: 6 visits in two bands by 3 detectors over 4 patches, and a bias exposure."""
    butler.insert_units("instrument", [{"instrument": "Cam"}])
    butler.insert_units("band", [{"band": "g"}, {"band": "r"}])
    butler.insert_units(
        "physical_filter",
        [{"instrument": "Cam", "physical_filter": f"{b.upper()}1", "band": b} for b in "gr"]
        + [{"instrument": "Cam", "physical_filter": "clear"}],
    )
    butler.insert_units("detector", [{"instrument": "Cam", "detector": d} for d in range(3)])
    visits = [
        {
            "instrument": "Cam",
            "visit": v,
            "physical_filter": "R1" if v % 2 else "G1",
            "exposure_time": 10.0 * v,
            "obs_time": f"2026-01-0{v}T03:00:00",
            "object": "M31" if v < 4 else "M33",
        }
        for v in range(1, 7)
    ]
    butler.insert_units("visit", visits)
    butler.insert_units(
        "exposure",
        [
            {
                "instrument": "Cam",
                "exposure": 100 + v,
                "visit": v,
                "physical_filter": "R1" if v % 2 else "G1",
                "obs_type": "science",
            }
            for v in range(1, 7)
        ]
        + [{"instrument": "Cam", "exposure": 900, "obs_type": "bias"}],
    )
    butler.insert_units("skymap", [{"skymap": "sky"}])
    butler.insert_units("tract", [{"skymap": "sky", "tract": 0}])
    butler.insert_units("patch", [{"skymap": "sky", "tract": 0, "patch": p} for p in range(4)])
    butler.insert_relation(
        "overlap",
        [
            {"instrument": "Cam", "visit": v, "detector": d, "skymap": "sky", "tract": 0, "patch": p}
            for v in range(1, 7)
            for d in range(3)
            for p in (d, d + 1)
        ],
    )


def raw(exposure: int, detector: int) -> Dataset:
    """Return the handle of a raw."""
    return Raw(instrument="Cam", exposure=exposure, detector=detector)


def equal(name: str, value: Any) -> Compare:
    """Return the condition that a unit or ``unit.field`` has a value."""
    unit, _, field = name.partition(".")
    return Compare(Comparison.EQ, Name(unit, field or None), Constant(value))


def keys(reader: Reader, unit: str) -> set[Any]:
    """Return the keys of the instances of a unit that a reader admits."""
    return set(reader.units(unit).keys.tolist())


class ButlerFixtures:
    """Butlers to test; override the fixture `butler`."""

    @pytest.fixture
    def butler(self, tmp_path: Path) -> AbstractButler:
        """Return a new, empty Butler of the unit model ``imaging``."""
        raise NotImplementedError("override the fixture `butler` with one that makes your Butler")

    @pytest.fixture
    def survey(self, butler: AbstractButler) -> AbstractButler:
        """Return the Butler with a small survey known, writing to a run."""
        fill_with_survey(butler)
        butler.run = RUN
        return butler

    @pytest.fixture
    def filled(self, survey: AbstractButler) -> AbstractButler:
        """Return the Butler with raws of all exposures and detectors."""
        for exposure in (*range(101, 107), 900):
            for detector in range(3):
                survey.put({"at": [exposure, detector]}, raw(exposure, detector))
        return survey
