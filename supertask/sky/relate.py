"""The stored relation of footprints and patches: filled, extended, computed anew and compared."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.butler.port import AbstractButler, Reader
from supertask.rows import RelationRows
from supertask.sky.footprints import Footprints
from supertask.sky.overlaps import overlaps
from supertask.sky.skymap import SkyMap
from supertask.sky.tracts import SkyMapError
from supertask.units import Relation, RelationKind, UnitModel

__all__ = ["Comparison", "Related", "compare", "footprint_units", "relate", "spatial_relation"]

Int = npt.NDArray[np.int64]


@attrs.frozen
class Related:
    """What `relate` did."""

    pairs: int
    """Overlaps found."""
    new: int
    """Those that were not stored yet."""
    without_patch: int
    """Footprints that overlap no patch of the sky map."""


@attrs.frozen
class Comparison:
    """A stored relation against one computed anew."""

    stored: int
    computed: int
    missing: int
    """Pairs computed that are not stored."""
    extra: int
    """Pairs stored that are not computed: of older footprints, or given by hand."""


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
        Any number of outlines, those of data IDs that are related already among them.
    margin : float, optional
        Arcsec; the sky map's own unless given.

    Raises
    ------
    SkyMapError
        The unit model has no such relation, or a footprint's data ID or the sky map is not known.
    """
    rows, with_patch = _pairs(butler, skymap, footprints, margin)
    pairs = len(next(iter(rows.units.values())))
    new = butler.insert_relation_rows(rows) if pairs else 0
    return Related(pairs, new, len(footprints) - with_patch)


def compare(
    butler: AbstractButler, skymap: SkyMap, footprints: Footprints, *, margin: float | None = None
) -> Comparison:
    """Compute a relation anew and compare it with what is stored for a sky map."""
    rows, _ = _pairs(butler, skymap, footprints, margin)
    names = sorted(rows.units)
    with butler.reader() as reader:
        stored = reader.relation(rows.relation)
        ours = np.isin(stored.units["patch"], _patch_ids(reader, skymap)[2])
    computed = {*zip(*(rows.units[n].tolist() for n in names), strict=True)}
    there = {*zip(*(stored.units[n][ours].tolist() for n in names), strict=True)}
    return Comparison(len(there), len(computed), len(computed - there), len(there - computed))


def _pairs(
    butler: AbstractButler, skymap: SkyMap, footprints: Footprints, margin: float | None
) -> tuple[RelationRows, int]:
    relation = spatial_relation(butler.model)
    if relation is None:
        raise SkyMapError(f"unit model {butler.model.name!r} has no spatial relation with patches")
    found = overlaps(footprints, skymap, margin=margin)
    with butler.reader() as reader:
        left = {u: _row_ids(reader, butler.model, u, footprints) for u in butler.model.leaves(relation.left)}
        tracts, numbers, ids = _patch_ids(reader, skymap)
    if len(found) and not len(ids):
        raise SkyMapError(f"sky map {skymap.name!r} is not known here: call its register(butler) first")
    # Tract and patch as one number, by which the patches are in order.
    width = max((t.n_patches for t in skymap.tracts), default=1)
    code = tracts * width + numbers
    order = np.argsort(code)
    place = np.searchsorted(code[order], found.tract * width + found.patch)
    columns = {u: column[found.footprint] for u, column in left.items()}
    columns["patch"] = ids[order][place] if len(found) else np.empty(0, np.int64)
    if len(found):
        whole = np.unique(np.stack([*columns.values()], axis=1), axis=0)
        columns = {u: whole[:, i] for i, u in enumerate(columns)}
    return RelationRows(relation.name, columns), len(np.unique(found.footprint))


def _row_ids(reader: Reader, model: UnitModel, unit: str, footprints: Footprints) -> Int:
    """Return the row ID of a unit for each footprint."""
    closure = model.closure([unit])
    known = _known_rows(reader, model, unit)
    keys = list(zip(*(footprints.keys[u].tolist() for u in closure), strict=True))
    found = np.fromiter((known.get(k, -1) for k in keys), np.int64, len(keys))
    if (found < 0).any():
        key = keys[int(np.argmax(found < 0))]
        shown = ", ".join(f"{u}={k}" for u, k in zip(closure, key, strict=True))
        raise SkyMapError(f"a footprint is of {shown}, which is not known here: insert {unit} first")
    return found


def _known_rows(reader: Reader, model: UnitModel, unit: str) -> dict[tuple[Any, ...], int]:
    rows = reader.units(unit, ())
    columns: dict[str, list[Any]] = {unit: rows.keys.tolist()}
    for parent in model.unit(unit).parents:
        by_id = {row_id: key for key, row_id in _known_rows(reader, model, parent).items()}
        keys = [by_id[i] for i in rows.links[parent].tolist()]
        for at, name in enumerate(model.closure([parent])):
            columns[name] = [key[at] for key in keys]
    ordered = (columns[u] for u in model.closure([unit]))
    return dict(zip(zip(*ordered, strict=True), rows.ids.tolist(), strict=True))


def _patch_ids(reader: Reader, skymap: SkyMap) -> tuple[Int, Int, Int]:
    """Return tract numbers, patch numbers and row IDs of all patches of a sky map."""
    skymaps = reader.units("skymap", ())
    mine = skymaps.ids[[k == skymap.name for k in skymaps.keys.tolist()]]
    tracts = reader.units("tract", ())
    ours = np.isin(tracts.links["skymap"], mine)
    patches = reader.units("patch", ())
    within = np.isin(patches.links["tract"], tracts.ids[ours])
    order = np.argsort(tracts.ids)
    links = patches.links["tract"][within]
    numbers = tracts.keys.astype(np.int64)[order][np.searchsorted(tracts.ids[order], links)]
    return numbers, patches.keys[within].astype(np.int64), patches.ids[within]
