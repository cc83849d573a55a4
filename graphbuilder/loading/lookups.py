"""What an expression asks of the repository: which units lie in a region, which datasets exist.

Each such condition is answered once, before anything is planned, and becomes membership in the data IDs
that were found. So the repository's reader, the RepoGraph and an explanation need to know of neither
sky nor collections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.expressions.contradictions import contradiction
from graphbuilder.expressions.language import parse
from graphbuilder.expressions.lookups import region_of_shape
from supertask.butler.port import AbstractButler
from supertask.conditions import (
    And,
    Compare,
    Comparison,
    Condition,
    Constant,
    Exists,
    Members,
    Name,
    Not,
    Or,
    Overlaps,
    Place,
    conjuncts,
    names,
)
from supertask.datasets import Dataset
from supertask.errors import ExpressionError, SuperTaskError, did_you_mean
from supertask.repograph.space import UnitSpace
from supertask.units import RelationKind, UnitModel

__all__ = ["asks", "condition_for", "looked_up", "on_the_sky"]

Columns = tuple[npt.NDArray[Any], ...]

_TRACTS = 4
"""So many tracts of a sky map are looked at for the patch that is nearest."""


def condition_for(
    text: str,
    butler: AbstractButler,
    *,
    bind: Mapping[str, Any] | None = None,
    collections: Sequence[str] = (),
    planned: Iterable[type[Dataset]] = (),
) -> Condition | None:
    """Read a data-ID expression, and ask the repository what only it knows.

    Parameters
    ----------
    text : str
        The expression.
    butler : AbstractButler
        The repository.
    bind : Mapping, optional
        Values of ``:name``.
    collections : sequence of str, optional
        Where ``EXISTS`` looks; the Butler's own search path unless given.
    planned : iterable of dataset type, optional
        Types that the repository need not know yet, as they are to be made: there are none of them.

    Raises
    ------
    ExpressionError
        It cannot be understood, contradicts itself, or asks what the repository cannot answer. Points at
        the character where there is one.
    """
    condition = parse(text, butler.model, bind=bind)
    never = contradiction(condition)
    if never is not None:
        shown = " and ".join(map(str, never))
        raise ExpressionError(
            f"the expression contradicts itself: {shown} never hold together; write OR, or IN (…), "
            "if either is meant"
        )
    return looked_up(condition, butler, text=text, collections=collections, planned=planned)


def on_the_sky(butler: AbstractButler) -> _Lookups:
    """Return what answers questions about places on the sky."""
    return _Lookups(butler, "", (), (), {})


def looked_up(
    condition: Condition | None,
    butler: AbstractButler,
    *,
    text: str = "",
    collections: Sequence[str] = (),
    planned: Iterable[type[Dataset]] = (),
) -> Condition | None:
    """Return a condition with what must be looked up replaced by the data IDs that were found."""
    if condition is None or not asks(condition):
        return condition
    # What exists need be known only of rows that the other conditions leave.
    plain = [c for c in conjuncts(condition) if not asks(c)]
    names_planned = {t.name: t for t in planned}
    return _Lookups(butler, text, tuple(collections), plain, names_planned).answer(condition)


def asks(condition: Condition) -> bool:
    """Tell whether a condition, or a part of it, must be looked up in the repository."""
    if isinstance(condition, And | Or):
        return any(map(asks, condition.parts))
    return asks(condition.part) if isinstance(condition, Not) else isinstance(condition, Overlaps | Exists)


@attrs.frozen
class _Lookups:
    """One expression's questions."""

    butler: AbstractButler
    text: str
    collections: tuple[str, ...]
    plain: Sequence[Condition]
    planned: Mapping[str, type[Dataset]]

    def answer(self, node: Condition) -> Condition:
        """Return a condition answered."""
        if isinstance(node, And):
            return And(tuple(map(self.answer, node.parts)))
        if isinstance(node, Or):
            return Or(tuple(map(self.answer, node.parts)))
        if isinstance(node, Not):
            return Not(self.answer(node.part))
        if isinstance(node, Exists):
            return self._existing(node)
        if isinstance(node, Overlaps):
            try:
                return self._overlapping(node)
            except SuperTaskError as error:
                if isinstance(error, ExpressionError):
                    raise
                raise self._wrong(str(error), node.at) from None
        return node

    def _wrong(self, message: str, at: int) -> ExpressionError:
        return ExpressionError(message, self.text, at)

    # -- what exists --------------------------------------------------------------------------

    def _existing(self, node: Exists) -> Condition:
        known = {**self.planned, **self.butler.dataset_types()}
        dataset_type = known.get(node.dataset_type)
        if dataset_type is None:
            hint = did_you_mean(node.dataset_type, known)
            raise self._wrong(f"the repository has no dataset type {node.dataset_type!r}{hint}", node.at)
        there = {info.name for info in self.butler.collection_infos()} if node.collections else set()
        for name in node.collections:
            if name not in there:
                raise self._wrong(f"there is no collection {name!r}{did_you_mean(name, there)}", node.at)
        model = self.butler.model
        determined = set(model.determined(dataset_type.units))
        fitting = tuple(c for c in self.plain if {n.unit for n in names(c)} <= determined)
        search = node.collections or self.collections or None
        with self.butler.reader(collections=search, where=And(fitting) if fitting else None) as reader:
            rows = reader.datasets(dataset_type)
            units = model.closure(dataset_type.units)
            space = UnitSpace.from_rows(model, [reader.units(u, ()) for u in units])
            columns = {u: space.codes(u, ids) for u, ids in rows.units.items()}
        if not units:
            return Compare(Comparison.EQ, Constant(1), Constant(int(len(rows.ids) > 0)))
        keys = tuple(space.tables[u].keys[space.column(columns, u)] for u in units)
        return Members(tuple(map(Name, units)), keys, str(node))

    # -- the sky ------------------------------------------------------------------------------

    def _overlapping(self, node: Overlaps) -> Condition:
        from supertask.sky.regions import meets, patches_in

        model, root = self.butler.model, self.butler.root
        left, right = _on_the_sky(model)
        kind = _kind_of(node.units, left, right)
        if kind is None:
            what = " or ".join(
                dict.fromkeys([*(left[:1]), f"({', '.join(left)})" if left[1:] else "", *right])
            )
            given = node.units[0] if len(node.units) == 1 else f"({', '.join(node.units)})"
            raise self._wrong(
                f"{given} has no place on the sky of its own in unit model {model.name!r}; what has: "
                f"{what or 'nothing'}",
                node.at,
            )
        region = self._region(node, left, right)
        if kind == "footprints":
            footprints = self._footprints(left, node.at)
            units = model.closure(node.units)
            found = footprints.take(meets(region, footprints))
            columns = [_plain(found.keys[u]) for u in units]
            return Members(tuple(map(Name, units)), _distinct(columns), str(node), node)
        units = model.closure(node.units)
        parts: list[Columns] = []
        for skymap in self._skymaps(root, node.at):
            tract, patch = patches_in(region, skymap)
            name = np.full(len(tract), skymap.name, object)
            parts.append((name, tract, patch) if node.units == ("patch",) else (name, tract))
        columns = [np.concatenate(c) for c in zip(*parts, strict=True)]
        return Members(tuple(map(Name, units)), _distinct(columns), str(node), node)

    def region(self, node: Overlaps) -> Any:
        """Return the region that was asked for."""
        return self._region(node, *_on_the_sky(self.butler.model))

    def outlines(self, node: Overlaps, region: Any) -> list[Any]:
        """Return the outlines of what may come nearest to a region: all footprints, or nearby patches."""
        from supertask.sky.regions import nearest_tracts

        left, right = _on_the_sky(self.butler.model)
        if _kind_of(node.units, left, right) == "footprints":
            return [self._footprints(left, node.at)]
        found = []
        for skymap in self._skymaps(self.butler.root, node.at):
            near = nearest_tracts(region, skymap, _TRACTS)
            if node.units == ("patch",):
                made = skymap.patch_outlines(*skymap.patch_numbers(near))
            else:
                made = skymap.tract_outlines(near)
            names = np.full(len(made), skymap.name, object)
            found.append(attrs.evolve(made, keys={"skymap": names, **made.keys}))
        return found

    def _region(self, node: Overlaps, left: tuple[str, ...], right: tuple[str, ...]) -> Any:
        from supertask.sky.footprints import Footprints
        from supertask.sky.regions import region_of_footprints

        place = node.region
        if not isinstance(place, Place):
            return region_of_shape(place)
        keys = dict(place.keys)
        of_footprint = place.unit in left
        if not of_footprint and place.unit not in right:
            what = ", ".join([*left, *right])
            raise self._wrong(
                f"{place.unit!r} has no place on the sky; what has: {what or 'nothing'}", node.at
            )
        model = self.butler.model
        allowed = model.closure(left if of_footprint else (place.unit,))
        for unit in keys:
            if unit not in allowed:
                raise self._wrong(
                    f"{unit!r} does not say which {place.unit}: give {', '.join(allowed)}", node.at
                )
        if of_footprint:
            footprints = self._footprints(left, node.at)
            chosen = np.ones(len(footprints), bool)
            for unit, key in keys.items():
                chosen &= _plain(footprints.keys[unit]) == key
            found = footprints.take(chosen)
        else:
            found = Footprints.from_outlines(("tract", "patch"), [])
            for skymap in self._skymaps(self.butler.root, node.at):
                if keys.get("skymap", skymap.name) != skymap.name:
                    continue
                tracts, patches = skymap.patch_numbers()
                chosen = np.ones(len(tracts), bool)
                for unit, column in (("tract", tracts), ("patch", patches)):
                    if unit in keys:
                        chosen &= column == keys[unit]
                outlines = skymap.patch_outlines(tracts[chosen], patches[chosen])
                found = Footprints.concatenate([found, outlines])
        if not len(found):
            raise self._wrong(f"nothing is known of where on the sky {place} is", node.at)
        return region_of_footprints(found)

    def _footprints(self, left: tuple[str, ...], at: int) -> Any:
        from supertask.sky.footprints import FootprintStore

        units = self.butler.model.closure(left)
        found = FootprintStore(self.butler.root).read(units) if self.butler.root else ()
        if not len(found):
            raise self._wrong(
                f"the repository keeps no footprints of ({', '.join(units)}): ingest files with a WCS first",
                at,
            )
        return found

    def _skymaps(self, root: str, at: int) -> list[Any]:
        from supertask.sky.skymap import SkyMap

        found = SkyMap.load_all(root) if root else []
        if not found:
            raise self._wrong("the repository has no sky map: register one first", at)
        return found


def _on_the_sky(model: UnitModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the units whose footprints are kept, and those that a sky map places."""
    for relation in model.relations:
        if relation.kind is RelationKind.SPATIAL and tuple(relation.right) == ("patch",):
            return tuple(relation.left), tuple(u for u in ("tract", "patch") if u in model)
    return (), ()


def _kind_of(units: tuple[str, ...], left: tuple[str, ...], right: tuple[str, ...]) -> str | None:
    if len(units) == 1 and units[0] in right:
        return "sky map"
    # One detector number is many places; a visit, or a visit's detector, is one.
    if left and (units == left[:1] or set(units) == set(left)):
        return "footprints"
    return None


def _plain(keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return keys if keys.dtype.kind == "i" else keys.astype(object)


def _distinct(columns: Sequence[npt.NDArray[Any]]) -> Columns:
    """Return each row once."""
    if not len(columns[0]):
        return tuple(columns)
    ranks = [np.unique(c, return_inverse=True)[1] for c in columns]
    order = np.lexsort(ranks[::-1])
    new = np.zeros(len(order), bool)
    new[0] = True
    for rank in ranks:
        ordered = rank[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    return tuple(c[order[new]] for c in columns)
