"""What each condition of an expression leaves, and which one leaves nothing.

Counted by the repository's own reader, the one that planning reads by, so that what is said here is what
planning found. Nothing of it is done for a plan that is not empty unless somebody asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from graphbuilder.reasons.nearest import is_plain, nearest, said, shortened, unmatched
from graphbuilder.reasons.skyward import nearest_on_sky
from supertask.butler.port import AbstractButler, CollectionKind, Reader
from supertask.conditions import (
    And,
    Condition,
    In,
    Members,
    Name,
    conjuncts,
    evaluate,
    names,
)
from supertask.datasets import Dataset
from supertask.repograph.relate import deciders
from supertask.repograph.space import UnitSpace
from supertask.units import FieldKind, UnitModel

__all__ = ["ConditionCount", "InputCount", "RelationCount", "Selection", "select_step_by_step"]

_SHOWN = 6
_OTHER_COLLECTIONS = 100


@attrs.frozen
class ConditionCount:
    """What one condition leaves of the instances of the unit that it speaks of."""

    condition: str
    unit: str
    """The unit whose instances are counted; empty where the condition speaks of several at once."""
    total: int
    """How many the repository has."""
    alone: int
    """How many this condition is true for."""
    together: int
    """How many this one and all before it are true for."""
    unknown: int = 0
    """How many have no value to compare; these pass."""
    nearest: tuple[str, ...] = ()
    """Where nothing is left: values that are there and come nearest."""
    absent: tuple[str, ...] = ()
    """Values that the condition names and that are not there."""

    def __str__(self) -> str:
        near = f"; the nearest: {', '.join(self.nearest)}" if self.nearest else ""
        if not self.unit:
            return f"{self.condition}: speaks of several units at once{near}"
        if self.unknown:
            near = f" ({self.unknown:,} have no value and pass){near}"
        if not self.total:
            return f"{self.condition} is true of nothing: the repository has no {self.unit!r} at all"
        if not self.alone:
            return (
                f"{self.condition} is true of none of the {self.total:,} values of unit {self.unit!r}{near}"
            )
        if not self.together:
            return (
                f"{self.condition} is true of {self.alone:,} of the {self.total:,} values of unit "
                f"{self.unit!r}, but of none that the conditions before it leave{near}"
            )
        if self.absent:
            return f"{self.condition}: the repository has no {', '.join(self.absent)}{near}"
        return (
            f"{self.condition} is true of {self.alone:,} of the {self.total:,} values of unit {self.unit!r}"
        )


@attrs.frozen
class InputCount:
    """What an expression leaves of the datasets of one type that are there already."""

    dataset_type: str
    selected: int
    total: int
    """In the collections searched."""
    elsewhere: dict[str, int] = attrs.field(factory=dict)
    """Where the collections searched have none: which others have how many."""

    def __str__(self) -> str:
        name = repr(self.dataset_type)
        if self.total:
            return f"the expression leaves {self.selected:,} of {self.total:,} datasets {name}"
        if self.elsewhere:
            others = ", ".join(f"{n:,} in {c}" for c, n in self.elsewhere.items())
            return f"the collections searched have no {name}; there are {others}"
        return f"no collection has any {name}: ingest it"


@attrs.frozen
class RelationCount:
    """What an expression leaves of a relation."""

    relation: str
    selected: int
    total: int

    def __str__(self) -> str:
        if not self.total:
            return f"relation {self.relation!r} has no rows at all: what it relates was never inserted"
        return f"the expression leaves {self.selected:,} of {self.total:,} rows of relation {self.relation!r}"


@attrs.frozen
class Selection:
    """What an expression selects, condition by condition."""

    conditions: tuple[ConditionCount, ...]
    inputs: tuple[InputCount, ...]
    relations: tuple[RelationCount, ...] = ()

    def suspects(self) -> tuple[ConditionCount, ...]:
        """Return conditions that name what is not there, and the first that left nothing."""
        found = []
        emptied = False
        for count in self.conditions:
            if count.unit and (not count.alone or count.absent or (not count.together and not emptied)):
                found.append(count)
            emptied |= bool(count.unit) and not count.together
        return tuple(found)

    def findings(self) -> tuple[str, ...]:
        """Return what leaves nothing, the likeliest culprit first; nothing where all is well."""
        empty = [str(c) for c in self.suspects()]
        empty += [str(r) for r in self.relations if not r.selected]
        return (*empty, *(str(i) for i in self.inputs if not i.selected))


def select_step_by_step(
    butler: AbstractButler,
    where: Condition | None,
    inputs: Sequence[type[Dataset]],
    *,
    collections: Sequence[str] = (),
    certified: Collection[type[Dataset]] = (),
    relations: Collection[str] = (),
) -> Selection:
    """Count what each condition of an expression leaves.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    where : Condition, optional
        The expression.
    inputs : sequence of dataset type
        Types that must be there already.
    collections : sequence of str, optional
        Collections searched; the Butler's own search path unless given.
    certified : collection of dataset type, optional
        Those of the inputs that may be certified for ranges of time.
    relations : collection of str, optional
        Relations that planning follows.
    """
    parts = conjuncts(where)
    conditions = tuple(_count(butler, parts, i) for i in range(len(parts)))
    known = butler.dataset_types()
    return Selection(
        conditions,
        tuple(
            _count_input(butler, t, where, tuple(collections), certified=t in certified)
            for t in inputs
            if t.name in known
        ),
        tuple(_relations(butler, where, relations)),
    )


def _relations(
    butler: AbstractButler, where: Condition | None, followed: Collection[str]
) -> Iterator[RelationCount]:
    """Count rows of relations that are followed and of which a condition names some unit."""
    named = {n.unit for c in conjuncts(where) for n in names(c)}
    for relation in butler.model.relations:
        if relation.name in followed and named & set(butler.model.determined(relation.left + relation.right)):
            with butler.reader(where=where) as reader:
                selected = _rows(reader, relation.name)
            total = selected
            if not selected:
                with butler.reader() as reader:
                    total = _rows(reader, relation.name)
            yield RelationCount(relation.name, selected, total)


def _rows(reader: Reader, relation: str) -> int:
    return len(next(iter(reader.relation(relation).units.values())))


def _count(butler: AbstractButler, parts: Sequence[Condition], i: int) -> ConditionCount:
    condition = parts[i]
    deciding = deciders(butler.model, {n.unit for n in names(condition)})
    if len(deciding) != 1:
        return ConditionCount(shortened(str(condition)), "", 0, 0, 0, nearest=_if_empty(butler, condition))
    unit = deciding[0]
    total = _instances(butler, unit, ())
    spoken = sorted(names(condition), key=str)
    if len(spoken) != 1 or not total or not is_plain(condition):
        alone = _instances(butler, unit, (condition,))
        together = _instances(butler, unit, parts[: i + 1])
        close = () if together else nearest_on_sky(butler, condition)
        return ConditionCount(shortened(str(condition)), unit, total, alone, together, nearest=close)
    is_time = _is_time(butler.model, spoken[0])
    values = _values(butler, unit, spoken[0], ())
    left = _values(butler, unit, spoken[0], parts[:i]) if i else values
    alone, together = (_true(condition, v) for v in (values, left))
    lacking = unmatched(condition, values) if together else []
    near: tuple[str, ...] = ()
    if lacking:
        asked = In(spoken[0], tuple(lacking))
        near = nearest(asked, values, is_time=is_time)
    elif not together:
        near = nearest(condition, left if alone else values, is_time=is_time)
    absent = tuple(said(v, is_time=is_time) for v in lacking[:_SHOWN])
    return ConditionCount(
        shortened(str(condition)), unit, total, alone, together, total - len(values), near, absent
    )


def _if_empty(butler: AbstractButler, condition: Condition) -> tuple[str, ...]:
    """Return what comes nearest to a condition that nothing on the sky fulfils."""
    empty = isinstance(condition, Members) and not len(condition.columns[0])
    return nearest_on_sky(butler, condition) if empty else ()


def _true(condition: Condition, values: Any) -> int:
    return int(np.sum(evaluate(condition, lambda _: (values, None)))) if len(values) else 0


def _is_time(model: UnitModel, name: Name) -> bool:
    field = model.unit(name.unit).field(name.field) if name.field else None
    return field is not None and field.kind is FieldKind.TIME


def _and(parts: Sequence[Condition]) -> Condition | None:
    return None if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))


def _instances(butler: AbstractButler, unit: str, parts: Sequence[Condition]) -> int:
    with butler.reader(where=_and(parts)) as reader:
        return len(reader.units(unit, ()).ids)


def _values(butler: AbstractButler, unit: str, name: Name, before: Sequence[Condition]) -> Any:
    """Return the values of a name among the instances of a unit that some conditions leave."""
    model = butler.model
    with butler.reader(where=_and(before)) as reader:
        space = UnitSpace.from_rows(
            model,
            [reader.units(u, ()) for u in model.determined((unit,))],
            lambda u, field: reader.units(u, (field,)),
        )
        codes = space.column({unit: np.arange(space.size(unit), dtype=np.int32)}, name.unit)
        table = space.tables[name.unit]
        values = table.keys if name.field is None else space.field(name.unit, name.field)
        good = codes >= 0
        if name.field in table.nulls:
            good &= ~table.nulls[name.field][codes]
        return values[codes[good]]


def _count_input(
    butler: AbstractButler,
    dataset_type: type[Dataset],
    where: Condition | None,
    collections: tuple[str, ...],
    *,
    certified: bool,
) -> InputCount:
    with butler.reader(collections=collections or None, where=where) as reader:
        selected = _datasets(reader, dataset_type, certified=certified)
    total = selected
    if where is not None and not selected:
        with butler.reader(collections=collections or None) as reader:
            total = _datasets(reader, dataset_type, certified=certified)
    elsewhere = {}
    if not total:
        for info in butler.collection_infos()[:_OTHER_COLLECTIONS]:
            if info.kind is CollectionKind.RUN and info.name not in collections:
                with butler.reader(collections=(info.name,)) as reader:
                    n = len(reader.datasets(dataset_type).ids)
                if n:
                    elsewhere[info.name] = n
    return InputCount(dataset_type.name, selected, total, elsewhere)


def _datasets(reader: Reader, dataset_type: type[Dataset], *, certified: bool) -> int:
    parts = reader.calibrations(dataset_type) if certified else []
    if parts:
        return sum(len(p.datasets.ids) for p in parts)
    return len(reader.datasets(dataset_type).ids)
