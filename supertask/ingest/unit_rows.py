"""From the values of many frames to one row for each instance of a unit.

Detectors of one exposure all speak of it, and exposures of one visit of that; what they say is
brought together here, and where they contradict each other the files are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from supertask.dataids import Key
from supertask.errors import DataIdError, UnitModelError
from supertask.ingest.frames import Combine, Frame
from supertask.units import UnitModel

__all__ = ["Contradiction", "UnitTable", "dependency_order", "gather"]

_Key = tuple[Key, ...]


@attrs.frozen
class Contradiction:
    """A file that says of a unit's instance what cannot be, given what was said before."""

    path: str
    reason: str


@attrs.define
class _Instance:
    """One instance of a unit while its rows come in."""

    links: dict[str, Key]
    path: str
    told: dict[Any, Mapping[str, Any]] = attrs.field(factory=dict)
    """For each that speaks of it (an exposure of a visit, or a frame) the fields it states."""


@attrs.frozen
class UnitTable:
    """Instances of one unit that frames speak of."""

    unit: str
    instances: dict[_Key, _Instance]

    def rows(
        self, model: UnitModel, combine: Mapping[str, Combine], known: Mapping[_Key, Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Yield rows to insert: those not known, and those that fill in what is null."""
        closure = model.closure([self.unit])
        names = [f.name for f in model.unit(self.unit).fields]
        for key, instance in self.instances.items():
            fields = {
                name: value
                for name in names
                if (value := _combined(combine.get(f"{self.unit}.{name}"), name, instance)) is not None
            }
            earlier = known.get(key)
            if earlier is not None:
                # The first word on a field holds: another detector's clock may differ by a millisecond.
                fields = {n: v for n, v in fields.items() if earlier.get(n) is None}
                links = {n: v for n, v in instance.links.items() if earlier.get(n) is None}
                if not fields and not links:
                    continue
            yield {**dict(zip(closure, key, strict=True)), **instance.links, **fields}


def _combined(how: Combine | None, name: str, instance: _Instance) -> Any:
    values = [said[name] for said in instance.told.values() if said.get(name) is not None]
    if not values or how in (None, Combine.FIRST):
        return values[0] if values else None
    if how is Combine.MIN:
        return min(values)
    if how is Combine.MAX:
        return max(values)
    total = sum(values)
    if how is Combine.SUM:
        return total
    return total // len(values) if isinstance(total, int) else total / len(values)


def dependency_order(model: UnitModel, units: Iterable[str]) -> list[str]:
    """Return units so that each comes after its parents and those it implies."""
    order: list[str] = []

    def add(name: str) -> None:
        if name not in order:
            for other in (*model.unit(name).parents, *model.unit(name).implies):
                add(other)
            order.append(name)

    wanted = set(units)
    for name in model.sort(wanted):
        add(name)
    return [name for name in order if name in wanted]


def gather(
    model: UnitModel, unit: str, frames: Iterable[tuple[str, Frame]], known: Mapping[_Key, Mapping[str, Any]]
) -> tuple[UnitTable, list[Contradiction]]:
    """Bring together what frames say of one unit.

    Parameters
    ----------
    model : UnitModel
        The units.
    unit : str
        The unit.
    frames : iterable of (str, Frame)
        Files and what they hold.
    known : Mapping
        Instances that the repository knows, from `supertask.ingest.known.known_units`.

    Returns
    -------
    table : UnitTable
        The instances, without those told by files that contradict earlier ones.
    contradictions : list of Contradiction
        Those files, and why.
    """
    declared = model.unit(unit)
    closure = model.closure([unit])
    implied = declared.implies
    names = [f.name for f in declared.fields]
    above = [u.name for u in model if unit in u.implies]
    instances: dict[_Key, _Instance] = {}
    contradictions: list[Contradiction] = []
    for path, frame in frames:
        values = frame.values
        if any(values.get(u) is None for u in closure):
            continue
        try:
            key = tuple(model.check_key(u, values[u]) for u in closure)
        except (DataIdError, UnitModelError) as error:
            contradictions.append(Contradiction(path, str(error)))
            continue
        links = {i: values[i] for i in implied if values.get(i) is not None}
        instance = instances.get(key)
        if instance is None:
            instance = instances[key] = _Instance({}, path)
            earlier = known.get(key)
            if earlier is not None:
                instance.path = "the repository"
                instance.links = {i: earlier[i] for i in implied if earlier.get(i) is not None}
        wrong = [i for i in links if instance.links.get(i, links[i]) != links[i]]
        if wrong:
            shown = ", ".join(f"{u}={k}" for u, k in zip(closure, key, strict=True))
            said = ", ".join(
                f"its {i} is {links[i]!r} here and {instance.links[i]!r} in {instance.path}" for i in wrong
            )
            contradictions.append(Contradiction(path, f"{shown}: {said}"))
            continue
        instance.links.update(links)
        speaker = next((u for u in above if values.get(u) is not None), None)
        by = (path, frame.hdu) if speaker is None else tuple(values.get(u) for u in model.closure([speaker]))
        fields = {n: values.get(f"{unit}.{n}") for n in names}
        earlier_said = instance.told.setdefault(by, fields)
        if earlier_said is not fields:
            instance.told[by] = {
                n: v if (v := earlier_said.get(n)) is not None else fields.get(n) for n in names
            }
    return UnitTable(unit, instances), contradictions
