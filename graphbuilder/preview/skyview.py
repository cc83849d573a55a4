"""Where on the sky the quanta of a plan are: one panel for each task, or for each band.

Quanta whose units determine a patch are where that patch is; those that determine a detector of a
visit are where its footprint is; those of a visit where any of its detectors is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.errors import PreflightError
from supertask.repograph.columns import group, lookup, pack
from supertask.repograph.space import UnitSpace
from supertask.sky.footprints import Footprints, FootprintStore
from supertask.sky.relate import footprint_units, spatial_relation
from supertask.sky.skymap import SkyMap
from supertask.units import FieldKind, UnitModel

__all__ = ["Panel", "panels_of"]


@attrs.frozen(eq=False)
class Panel:
    """Places of some quanta on the sky."""

    title: str
    quanta: int
    outlines: tuple[npt.NDArray[np.float64], ...]
    """Each of shape (k, 2): ra and dec of its corners, degrees ICRS."""
    counts: npt.NDArray[np.int64]
    """Shape (outlines,): how many quanta are at each."""
    stacked: bool
    """Whether they are footprints, which lie upon one another, and not patches side by side."""


def panels_of(dag: ScienceDag, butler: AbstractButler | None, *, by: str = "task") -> list[Panel]:
    """Return panels that show where the quanta of a plan are.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    butler : AbstractButler or None
        Its repository, which has the footprints and sky maps.
    by : {"task", "band"}, optional
        Whether each panel is a task, or a band and kind of place.

    Raises
    ------
    PreflightError
        The repository is not at hand, or knows the place of nothing in the plan.
    """
    if butler is None or not butler.root:
        raise PreflightError(
            "a view of the sky needs the plan's repository, which has the footprints: give --repo"
        )
    places = _Places(dag.model, dag.space, butler.root)
    panels = [p for k in range(len(dag.tasks)) for p in _of_task(dag, places, k, by)]
    if not panels:
        raise PreflightError(
            "the repository knows the place on the sky of no quantum of the plan: it needs footprints "
            "(ingest keeps those of FITS files with a WCS) or a sky map"
        )
    return _by_band(panels) if by == "band" else [p for _, p in panels]


def _of_task(dag: ScienceDag, places: _Places, k: int, by: str) -> Iterator[tuple[str, Panel]]:
    node, table = dag.tasks[k], dag.quantum_tables[k]
    if not table.n:
        return
    columns = {u: c[:] for u, c in table.columns.items()}
    bands = _bands(dag.space, columns) if by == "band" else {node.label: np.arange(table.n)}
    for title, rows in bands.items():
        chosen = {u: c[rows] for u, c in columns.items()}
        found = places.of(chosen, len(rows))
        if found is not None:
            outlines, counts, stacked = found
            yield title, Panel(title, len(rows), outlines, counts, stacked)


def _bands(space: UnitSpace, columns: Mapping[str, Any]) -> dict[str, npt.NDArray[np.int64]]:
    if "band" not in space.model or "band" not in space.tables or not space.determines(columns, "band"):
        return {}
    codes = space.column(columns, "band")
    keys = space.tables["band"].keys[:].tolist()
    return {str(key): rows for i, key in enumerate(keys) if len(rows := np.flatnonzero(codes == i))}


def _by_band(panels: Iterable[tuple[str, Panel]]) -> list[Panel]:
    """Keep for each band and kind of place the panel of the task with most quanta."""
    best: dict[tuple[str, bool], Panel] = {}
    for band, panel in panels:
        key = band, panel.stacked
        if key not in best or best[key].quanta < panel.quanta:
            best[key] = panel
    ordered = sorted(best.items(), key=lambda item: (not item[0][1], item[0][0]))
    return [
        attrs.evolve(panel, title=f"{band}: {'detectors' if stacked else 'patches'}")
        for (band, stacked), panel in ordered
    ]


class _Places:
    """Outlines of what a repository knows the place of."""

    def __init__(self, model: UnitModel, space: UnitSpace, root: str) -> None:
        self._space = space
        relation = spatial_relation(model)
        self._patch = relation.right[-1] if relation is not None else ""
        self._units = footprint_units(model)
        # A detector alone is nowhere on the sky, a visit is: what has a time points somewhere.
        self._pointings = {
            u for u in self._units if any(f.kind is FieldKind.TIME for f in model.unit(u).fields)
        } or set(model.leaves(self._units))
        self._root = root
        self._footprints: Footprints | None = None
        self._skymaps: dict[str, SkyMap] | None = None

    def of(self, columns: Mapping[str, Any], n: int) -> tuple[Any, Any, bool] | None:
        """Return outlines, how many rows are at each, and whether they are footprints; None without any."""
        space = self._space
        if self._patch and self._patch in space.tables and space.determines(columns, self._patch):
            codes = space.column(columns, self._patch)
            places = np.unique(codes[codes >= 0])
            outlines = self._patches(places)
            counts = np.bincount(codes[codes >= 0], minlength=int(codes.max(initial=-1)) + 1)[places]
            kept = [i for i, o in enumerate(outlines) if o is not None]
            return (tuple(outlines[i] for i in kept), counts[kept], False) if kept else None
        leaves = [u for u in self._units if u in space.tables and space.determines(columns, u)]
        if not self._pointings & set(leaves):
            return None
        return self._detectors(leaves, columns, n)

    def _patches(self, codes: npt.NDArray[Any]) -> list[Any]:
        if self._skymaps is None:
            self._skymaps = {s.name: s for s in SkyMap.load_all(self._root)}
        own = self._space.data_ids({self._patch: codes}, n=len(codes))
        by_map: dict[str, list[int]] = {}
        for i, dataId in enumerate(own):
            by_map.setdefault(str(dataId.get("skymap", "")), []).append(i)
        found: list[Any] = [None] * len(own)
        for name, members in by_map.items():
            if name in self._skymaps:
                tracts, patches = (
                    np.array([own[i][u] for i in members], np.int64) for u in ("tract", self._patch)
                )
                outlines = self._skymaps[name].patch_outlines(tracts, patches, inner=True)
                for i, outline in zip(members, _each(outlines, range(len(members))), strict=True):
                    found[i] = outline
        return found

    def _detectors(
        self, units: Sequence[str], columns: Mapping[str, Any], n: int
    ) -> tuple[Any, Any, bool] | None:
        if self._footprints is None:
            self._footprints = FootprintStore(self._root).read(self._units)
        known = self._footprints
        if not len(known):
            return None
        wanted, there = [], []
        for unit in units:
            keys = np.asarray(self._space.tables[unit].keys[:])
            _, rank = np.unique(
                np.concatenate([keys.astype(known.keys[unit].dtype), known.keys[unit]]), return_inverse=True
            )
            codes = self._space.column(columns, unit)
            wanted.append(np.where(codes < 0, -1, rank[: len(keys)][codes]))
            there.append(rank[len(keys) :])
        sizes = [int(max(w.max(initial=0), t.max(initial=0))) + 1 for w, t in zip(wanted, there, strict=True)]
        ours, theirs = pack(wanted, sizes, n=n), pack(there, sizes, n=len(known))
        groups = group(ours)
        place = lookup(groups.keys, theirs)
        rows = np.flatnonzero(place >= 0)
        if not len(rows):
            return None
        return tuple(_each(known, rows.tolist())), np.diff(groups.indptr)[place[rows]], True


def _each(footprints: Footprints, rows: Iterable[int]) -> Iterator[npt.NDArray[np.float64]]:
    for i in rows:
        yield footprints.radec[footprints.indptr[i] : footprints.indptr[i + 1]]
