"""The stored relation of footprints and patches: filled, extended, computed anew and compared."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.butler.port import AbstractButler, Reader
from supertask.relations.compared import Comparison, compare_rows, n_rows
from supertask.relations.rowids import UNKNOWN, RowIds
from supertask.rows import RelationRows
from supertask.sky.footprints import Footprints
from supertask.sky.overlaps import overlaps
from supertask.sky.skymap import SkyMap
from supertask.sky.tracts import SkyMapError
from supertask.units import Relation, RelationKind, UnitModel

__all__ = ["Related", "compare", "footprint_units", "relate", "spatial_relation"]

Int = npt.NDArray[np.int64]

_TOLD = 20


@attrs.frozen
class Related:
    """What `relate` did."""

    pairs: int
    """Overlaps found."""
    new: int
    """Those that were not stored yet."""
    without_patch: int
    """Footprints that overlap no patch of the sky map."""


def spatial_relation(model: UnitModel) -> Relation | None:
    """Return the model's relation between what has footprints and patches, or None."""
    for relation in model.relations:
        if relation.kind is RelationKind.SPATIAL and tuple(relation.right) == ("patch",):
            return relation
    return None


def footprint_units(model: UnitModel) -> tuple[str, ...]:
    """Return the units that a footprint's data ID names: (instrument, visit, detector) in imaging."""
    relation = spatial_relation(model)
    return model.closure(relation.left) if relation else ()


def relate(
    butler: AbstractButler, skymap: SkyMap, footprints: Footprints, *, margin: float | None = None
) -> Related:
    """Store which footprints overlap which patches.

    Parameters
    ----------
    butler : AbstractButler
        The repository; units of the footprints and the sky map must be known.
    skymap : SkyMap
        A registered sky map.
    footprints : Footprints
        Any number of outlines, those of data IDs that are related already among them. Only these
        are computed, and of the sky map only the tracts that they meet are read.
    margin : float, optional
        Arcsec; the sky map's own unless given.

    Raises
    ------
    SkyMapError
        The unit model has no such relation, or a footprint's data ID or the sky map is not known.
    """
    rows, with_patch = _computed(butler, skymap, footprints, margin)
    pairs = n_rows(rows)
    new = butler.insert_relation_rows(rows) if pairs else 0
    return Related(pairs, new, len(footprints) - with_patch)


def compare(
    butler: AbstractButler,
    skymap: SkyMap,
    footprints: Footprints,
    *,
    margin: float | None = None,
    these_only: bool = False,
) -> Comparison:
    """Compute a relation anew and compare it with what is stored for a sky map.

    Parameters
    ----------
    butler, skymap, footprints, margin
        As for `relate`.
    these_only : bool, optional
        Whether to look only at stored rows of the footprints' own data IDs.

    Raises
    ------
    SkyMapError
        As `relate`.
    """
    rows, _ = _computed(butler, skymap, footprints, margin)
    relation = _relation(butler.model)
    with butler.reader() as reader:
        tracts = _tract_ids(reader, butler.model, skymap)
        reader.restrict("tract", tracts[tracts != UNKNOWN])
        if these_only:
            index = RowIds(reader, butler.model)
            left = {u: index.ids(u, footprints.keys) for u in butler.model.leaves(relation.left)}
            for unit, ids in left.items():
                reader.restrict(unit, np.unique(ids[ids != UNKNOWN]))
        stored = reader.relation(relation.name)
        # Said once more, for a reader that does not follow patches up to their tracts.
        ours = np.isin(stored.units["patch"], reader.units("patch", ()).ids)
        if these_only:
            names = list(left)
            pairs = np.stack([left[u] for u in names], axis=1)
            there = np.stack([stored.units[u] for u in names], axis=1)
            ours &= _among(there, pairs)
        stored = RelationRows(relation.name, {u: ids[ours] for u, ids in stored.units.items()})
    return compare_rows(stored, rows)


def _among(rows: Int, wanted: Int) -> npt.NDArray[np.bool_]:
    """Tell which rows are among some others."""
    _, codes = np.unique(np.concatenate([rows, wanted]), axis=0, return_inverse=True)
    codes = codes.reshape(-1)
    return np.isin(codes[: len(rows)], codes[len(rows) :])


def _relation(model: UnitModel) -> Relation:
    relation = spatial_relation(model)
    if relation is None:
        raise SkyMapError(f"unit model {model.name!r} has no spatial relation with patches")
    return relation


def _computed(
    butler: AbstractButler, skymap: SkyMap, footprints: Footprints, margin: float | None
) -> tuple[RelationRows, int]:
    """Return rows of the relation, and how many footprints have any."""
    relation = _relation(butler.model)
    found = overlaps(footprints, skymap, margin=margin)
    columns: dict[str, Int] = {}
    with butler.reader() as reader:
        index = RowIds(reader, butler.model)
        for unit in butler.model.leaves(relation.left):
            ids = index.ids(unit, footprints.keys)
            _check_known(butler.model, unit, ids, footprints)
            columns[unit] = ids[found.footprint]
        met = np.unique(found.tract)
        tract_ids = _tract_ids(reader, butler.model, skymap, met)
        if (tract_ids == UNKNOWN).any():
            raise SkyMapError(f"sky map {skymap.name!r} is not known here: call its register(butler) first")
        reader.restrict("tract", tract_ids)
        names: dict[str, Any] = {
            "skymap": np.full(len(found), skymap.name), "tract": found.tract, "patch": found.patch,
        }  # fmt: skip
        columns["patch"] = RowIds(reader, butler.model).ids("patch", names)
    if (columns["patch"] == UNKNOWN).any():
        raise SkyMapError(
            f"some patches of sky map {skymap.name!r} are not known here: call its register(butler) again"
        )
    rows = RelationRows(relation.name, columns)
    return rows, len(np.unique(found.footprint))


def _check_known(model: UnitModel, unit: str, ids: Int, footprints: Footprints) -> None:
    lacking = np.flatnonzero(ids == UNKNOWN)
    if not len(lacking):
        return
    closure = model.closure([unit])
    keys = zip(*(footprints.keys[u][lacking].tolist() for u in closure), strict=True)
    shown = [", ".join(f"{u}={k}" for u, k in zip(closure, key, strict=True)) for key in dict.fromkeys(keys)]
    more = f" and {len(shown) - _TOLD:,} more" if len(shown) > _TOLD else ""
    raise SkyMapError(
        f"a footprint is of {'; '.join(shown[:_TOLD])}{more}, which is not known here: insert {unit} first"
    )


def _tract_ids(reader: Reader, model: UnitModel, skymap: SkyMap, tracts: Int | None = None) -> Int:
    numbers = np.array([t.tract for t in skymap.tracts], np.int64) if tracts is None else tracts
    names: dict[str, Any] = {"skymap": np.full(len(numbers), skymap.name), "tract": numbers}
    return RowIds(reader, model).ids("tract", names)
