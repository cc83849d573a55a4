"""Footprints of what a repository holds: kept, and related to every sky map that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from supertask.butler.port import AbstractButler
from supertask.relations.compared import Comparison, Corrected, correct
from supertask.relations.rowids import UNKNOWN, RowIds
from supertask.sky.footprints import Footprints, FootprintStore
from supertask.sky.relate import Related, compare, footprint_units, relate
from supertask.sky.skymap import SkyMap
from supertask.sky.tracts import SkyMapError

__all__ = ["Kept", "check_relation", "keep_footprints", "recompute", "relate_all"]


@attrs.frozen
class Kept:
    """What `keep_footprints` did."""

    footprints: int = 0
    """How many were kept."""
    new: int = 0
    """Rows that were added to the relation."""
    removed: int = 0
    """Rows that were taken out of it, as a better footprint does not have them."""
    refused: tuple[tuple[Mapping[str, Any], str], ...] = ()
    """Unit values and reason of each outline that is none, or of no known data ID; they hinder no other."""
    unrelated: str = ""
    """Why those kept could not be related to every sky map: one cannot be read, say. Empty if they were."""


def keep_footprints(
    butler: AbstractButler,
    outlines: Iterable[tuple[Mapping[str, Any], Any]],
    *,
    replace: bool = False,
) -> Kept:
    """Keep footprints, and extend the relation with the patches that they overlap.

    Only these footprints are computed, against every sky map that the repository has.

    Parameters
    ----------
    butler : AbstractButler
        The repository; units of the footprints must be known.
    outlines : iterable of (Mapping, array_like)
        Unit values, and positions (ra and dec, degrees) of the outline. What lacks a unit of a
        footprint's data ID is left out.
    replace : bool, optional
        Whether they take the place of earlier ones of their data IDs. What only those overlapped
        is taken out of the relation.
    """
    units = footprint_units(butler.model)
    if not units or not butler.root:
        return Kept()
    footprints, refused = Footprints.sift(
        units,
        [(values, outline) for values, outline in outlines if all(values.get(u) is not None for u in units)],
    )
    footprints, unknown = _known(butler, footprints)
    refused += unknown
    FootprintStore(butler.root).add(footprints, replace=replace)
    new, removed, unrelated = 0, 0, ""
    try:
        for skymap in SkyMap.load_all(butler.root) if len(footprints) else ():
            if replace:
                found = compare(butler, skymap, footprints, these_only=True)
                done = correct(butler, found, remove_extra=True)
                new, removed = new + done.added, removed + done.removed
            else:
                new += relate(butler, skymap, footprints).new
    except SkyMapError as error:
        # They are kept already, and shall not be thought lost.
        unrelated = str(error)
    return Kept(len(footprints), new, removed, tuple(refused), unrelated)


def _known(
    butler: AbstractButler, footprints: Footprints
) -> tuple[Footprints, list[tuple[Mapping[str, Any], str]]]:
    """Return those whose data IDs are known, and what is to be said of the others."""
    known = np.ones(len(footprints), bool)
    refused: dict[int, str] = {}
    if len(footprints):
        with butler.reader() as reader:
            index = RowIds(reader, butler.model)
            for unit in butler.model.leaves(footprints.keys):
                there = index.ids(unit, footprints.keys) != UNKNOWN
                for i in np.flatnonzero(known & ~there).tolist():
                    refused[i] = f"is of no {unit} that is known here: insert it first"
                known &= there
    if not refused:
        return footprints, []
    rows = {u: keys.tolist() for u, keys in footprints.keys.items()}
    said: list[tuple[Mapping[str, Any], str]] = [
        ({u: rows[u][i] for u in rows}, reason) for i, reason in sorted(refused.items())
    ]
    return footprints.take(known), said


def relate_all(butler: AbstractButler, skymap: SkyMap) -> Related:
    """Relate all footprints that a repository keeps to a sky map, as after registering a new one."""
    return relate(butler, skymap, _all(butler))


def check_relation(butler: AbstractButler, skymap: SkyMap) -> Comparison:
    """Compute a sky map's part of the relation anew from all footprints, and compare it with what is stored.

    Raises
    ------
    SkyMapError
        The unit model has no such relation, or the sky map is not known.
    """
    return compare(butler, skymap, _all(butler))


def recompute(butler: AbstractButler, skymap: SkyMap, *, remove_extra: bool = False) -> Corrected:
    """Compute a sky map's part of the relation anew, and store what is missing.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    skymap : SkyMap
        A registered sky map.
    remove_extra : bool, optional
        Whether to take out what is stored and not computed; it stays unless asked.

    Raises
    ------
    SkyMapError
        As `check_relation`.
    """
    return correct(butler, check_relation(butler, skymap), remove_extra=remove_extra)


def _all(butler: AbstractButler) -> Footprints:
    return FootprintStore(butler.root).read(footprint_units(butler.model))
