"""Small random surveys, made by hypothesis, as columns and as plain dictionaries."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from supertask.datasets import Dataset
from supertask.repograph.graph import RepoGraph
from supertask.repograph.space import UnitSpace
from supertask.repograph.tables import DatasetTable, RelationTable
from supertask.rows import UnitRows
from supertask.unitmodels import load_unit_model

MODEL = load_unit_model("imaging")


@attrs.frozen
class Survey:
    """One instrument; visits with filters, exposures with or without a visit, patches, an overlap."""

    detectors: int
    filters: tuple[str, ...]
    visit_filter: tuple[int, ...]
    exposure_visit: tuple[int | None, ...]
    patches: int
    overlap: frozenset[tuple[int, int, int]]
    """(visit, detector, patch)"""

    def space(self) -> UnitSpace:
        """Encode the units; row IDs are keys times ten, so that nobody takes one for the other."""
        n_visits = len(self.visit_filter)
        bands = sorted({f.lower() for f in self.filters})

        def ids(values: Any) -> np.ndarray:
            return np.array([-1 if v is None else 10 * v for v in values], np.int64).reshape(-1)

        def text(values: Any) -> np.ndarray:
            return np.array(list(values), object)

        cam = lambda n: np.full(n, 10, np.int64)
        exposure_filter = [None if v is None else self.visit_filter[v] for v in self.exposure_visit]
        obs_type = text(["bias" if v is None else "science" for v in self.exposure_visit])
        rows = [
            UnitRows("instrument", ids([1]), text(["Cam"]), {}, {}, {}),
            UnitRows("band", ids(range(len(bands))), text(bands), {}, {}, {}),
            UnitRows(
                "physical_filter",
                ids(range(len(self.filters))),
                text(self.filters),
                {
                    "instrument": cam(len(self.filters)),
                    "band": ids([bands.index(f.lower()) for f in self.filters]),
                },
                {},
                {},
            ),
            UnitRows(
                "visit",
                ids(range(n_visits)),
                np.arange(n_visits),
                {"instrument": cam(n_visits), "physical_filter": ids(self.visit_filter)},
                {},
                {},
            ),
            UnitRows(
                "exposure",
                ids(range(len(self.exposure_visit))),
                np.arange(len(self.exposure_visit)),
                {
                    "instrument": cam(len(self.exposure_visit)),
                    "physical_filter": ids(exposure_filter),
                    "visit": ids(self.exposure_visit),
                },
                {"obs_type": obs_type},
                {},
            ),
            UnitRows(
                "detector",
                ids(range(self.detectors)),
                np.arange(self.detectors),
                {"instrument": cam(self.detectors)},
                {},
                {},
            ),
            UnitRows("skymap", ids([1]), text(["sky"]), {}, {}, {}),
            UnitRows("tract", ids([0]), np.array([0]), {"skymap": ids([1])}, {}, {}),
            UnitRows(
                "patch",
                ids(range(self.patches)),
                np.arange(self.patches),
                {"tract": ids([0] * self.patches)},
                {},
                {},
            ),
        ]
        return UnitSpace.from_rows(MODEL, rows)

    def full(self, dataId: dict[str, Any]) -> dict[str, Any]:
        """Return a data ID with every unit that follows from it (the slow and obvious way)."""
        out = dict(dataId)
        if "exposure" in out and "visit" not in out:
            out["visit"] = self.exposure_visit[out["exposure"]]
        visit = out.get("visit")
        if visit is not None and "physical_filter" not in out:
            out["physical_filter"] = self.filters[self.visit_filter[visit]]
        if out.get("physical_filter") is not None and "band" not in out:
            out["band"] = out["physical_filter"].lower()
        return {k: v for k, v in out.items() if v is not None}

    def all_data_ids(self, units: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return every data ID of some leaf units."""
        values: dict[str, Any] = {
            "detector": range(self.detectors),
            "visit": range(len(self.visit_filter)),
            "exposure": range(len(self.exposure_visit)),
            "patch": range(self.patches),
            "band": sorted({f.lower() for f in self.filters}),
            "physical_filter": self.filters,
        }
        found: list[dict[str, Any]] = [{}]
        for unit in units:
            found = [{**d, unit: v} for d in found for v in values[unit]]
        return found


@st.composite
def surveys(draw: st.DrawFn) -> Survey:
    """Draw a small survey."""
    filters = draw(st.sampled_from([("G",), ("G", "R"), ("G", "R", "r")]))
    n_visits = draw(st.integers(1, 4))
    visit_filter = tuple(draw(st.integers(0, len(filters) - 1)) for _ in range(n_visits))
    exposure_visit = tuple(draw(st.lists(st.none() | st.integers(0, n_visits - 1), min_size=1, max_size=6)))
    detectors, patches = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    cells = [(v, d, p) for v in range(n_visits) for d in range(detectors) for p in range(patches)]
    overlap = frozenset(draw(st.sets(st.sampled_from(cells))))
    return Survey(detectors, filters, visit_filter, exposure_visit, patches, overlap)


def table(
    survey: Survey, space: UnitSpace, dataset_type: type[Dataset], rows: list[dict[str, Any]]
) -> DatasetTable:
    """Make the table of some datasets."""
    columns = {}
    for unit in MODEL.leaves(MODEL.closure(dataset_type.units)):
        known = np.asarray(space.tables[unit].keys).tolist()
        columns[unit] = np.array([known.index(r[unit]) for r in rows], np.int32)
    made = DatasetTable(dataset_type, space, columns, len(rows), np.zeros((len(rows), 16), np.uint8))
    made.sort()
    return made


def graph(survey: Survey, datasets: dict[type[Dataset], list[dict[str, Any]]]) -> RepoGraph:
    """Make the RepoGraph of a survey with some datasets."""
    space = survey.space()
    pairs = np.array(sorted(survey.overlap), np.int32).reshape(-1, 3)
    relation = RelationTable("overlap", {"visit": pairs[:, 0], "detector": pairs[:, 1], "patch": pairs[:, 2]})
    tables = {t: table(survey, space, t, rows) for t, rows in datasets.items()}
    return RepoGraph(space, tables, {"overlap": relation})
