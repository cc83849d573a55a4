"""What is read beyond an expression: inputs that it must not trim, with all that they need.

An expression selects quanta. Of an input that a task wants whole the repository is asked once more, with
those conditions alone that the quanta's own units decide, and for the quanta's units that are selected.
What this finds beyond the selection is marked, so that no quanta are made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from supertask.butler.port import Reader
from supertask.conditions import And, Condition, conjuncts, names
from supertask.datasets import Dataset
from supertask.repograph.columns import group
from supertask.rows import DatasetRows, RelationRows, TextColumn, UnitRows
from supertask.units import UnitModel

__all__ = ["Untrimmed", "Wider", "kept_conditions", "narrow_through_relations", "sides_led_to"]


@attrs.frozen
class Untrimmed:
    """An input that the expression must not narrow."""

    dataset_type: type[Dataset]
    units: tuple[str, ...]
    """Units whose selection narrows it all the same: those of the quanta, or what must be alike."""


def kept_conditions(
    model: UnitModel, where: Condition | None, units: Iterable[str]
) -> tuple[list[Condition], list[Condition]]:
    """Part the conditions of an expression: those that some units decide alone, and the others."""
    own = set(model.determined(units))
    kept: list[Condition] = []
    others: list[Condition] = []
    for condition in conjuncts(where):
        (kept if {n.unit for n in names(condition)} <= own else others).append(condition)
    return kept, others


def narrow_through_relations(
    model: UnitModel, reader: Reader, relation_names: Iterable[str], spoken_of: Sequence[set[str]]
) -> tuple[dict[str, RelationRows], list[tuple[str, tuple[str, ...]]]]:
    """Read relations, and admit of the side that the condition does not speak of only what is left.

    Returns the relations, and which side of which was narrowed.
    """
    found: dict[str, RelationRows] = {}
    narrowed: list[tuple[str, tuple[str, ...]]] = []
    for name in relation_names:
        rows = found[name] = reader.relation(name)
        for side in sides_led_to(model, name, spoken_of):
            leaves = model.leaves(model.closure(side))
            for unit in leaves:
                reader.restrict(unit, group(rows.units[unit]).keys)
            narrowed.append((name, leaves))
    return found, narrowed


def sides_led_to(model: UnitModel, name: str, spoken_of: Sequence[set[str]]) -> list[tuple[str, ...]]:
    """Return the sides of a relation that a condition does not speak of, but of the other does."""
    relation = model.relation(name)
    found = []
    for side, other in ((relation.left, relation.right), (relation.right, relation.left)):
        near, far = set(model.determined(side)), set(model.determined(other))
        if any(said & (far - near) and not said & (near - far) for said in spoken_of):
            found.append(side)
    return found


class Wider:
    """What a reader gives, and what is read beyond it.

    Parameters
    ----------
    reader : Reader
        What the expression selects.
    model : UnitModel
        Its units.
    relations : sequence of str
        Relations that the plan uses.
    """

    def __init__(self, reader: Reader, model: UnitModel, relations: Sequence[str]) -> None:
        self._reader = reader
        self._model = model
        self._names = relations
        self._readers: dict[str, list[Reader]] = {}
        self._datasets: dict[type[Dataset], list[DatasetRows]] = {}
        self._relations: dict[str, list[RelationRows]] = {}
        self.beyond: dict[type[Dataset], npt.NDArray[np.bool_]] = {}
        """Of types that were widened: which of the rows of `datasets` are beyond."""

    def add(
        self,
        wanted: Untrimmed,
        where: Condition | None,
        open_reader: Callable[[Condition | None], Reader],
        *,
        always: bool = False,
    ) -> None:
        """Read an input without the conditions that the units of its quanta do not decide.

        Parameters
        ----------
        wanted : Untrimmed
            The input.
        where : Condition or None
            The expression.
        open_reader : callable
            Gives a reader narrowed by another condition.
        always : bool, optional
            Whether to read it even where the expression has no such condition.
        """
        model, units = self._model, wanted.units
        kept, others = kept_conditions(model, where, units)
        known = set(model.determined({*wanted.dataset_type.units, *units}))
        if not others and not always:
            return
        wider = open_reader(And(tuple(kept)) if kept else None)
        leaves = model.leaves(model.closure(units))
        for unit in leaves:
            wider.restrict(unit, self._reader.units(unit, ()).ids)
        needed = [n for n in self._names if known >= {*model.relation(n).left, *model.relation(n).right}]
        spoken_of = [{unit} for unit in leaves] + [{n.unit for n in names(c)} for c in kept]
        related, _ = narrow_through_relations(model, wider, needed, spoken_of)
        for name, rows in related.items():
            self._relations.setdefault(name, []).append(rows)
        found = wider.datasets(wanted.dataset_type)
        # Of the units only what these datasets are by is needed, not all that there is.
        for unit, ids in found.units.items():
            wider.restrict(unit, group(np.sort(ids[ids >= 0])).keys)
        self._datasets.setdefault(wanted.dataset_type, []).append(found)
        for unit in known:
            self._readers.setdefault(unit, []).append(wider)

    def units(self, unit: str, fields: Sequence[str]) -> UnitRows:
        """Return the instances of a unit that are selected, or needed beyond."""
        parts = [r.units(unit, fields) for r in (self._reader, *self._readers.get(unit, ()))]
        return parts[0] if len(parts) == 1 else _united(parts)

    def beyond_unit(self, unit: str, ids: npt.NDArray[np.int64] | None) -> npt.NDArray[np.bool_] | None:
        """Return which row IDs of a unit are not selected, or None where all are."""
        if unit not in self._readers or ids is None:
            return None
        beyond = ~np.isin(ids, self._reader.units(unit, ()).ids)
        return beyond if beyond.any() else None

    def datasets(self, dataset_type: type[Dataset]) -> DatasetRows:
        """Return the datasets of a type that are selected, or wanted beyond."""
        own = self._reader.datasets(dataset_type)
        more = self._datasets.get(dataset_type)
        if more is None:
            return own
        parts = [own, *more]
        ids = np.concatenate([p.ids for p in parts])
        first = np.sort(np.unique(ids, return_index=True)[1])
        self.beyond[dataset_type] = first >= len(own.ids)
        texts = [_text(p.locations) for p in parts]
        return DatasetRows(
            dataset_type,
            ids=ids[first],
            units={u: np.concatenate([p.units[u] for p in parts])[first] for u in own.units},
            identities=np.concatenate([p.identities for p in parts])[first],
            locations=TextColumn.concatenate(texts)[first],
            sizes=np.concatenate([p.sizes for p in parts])[first],
        )

    def relations(self, selected: Mapping[str, RelationRows]) -> dict[str, RelationRows]:
        """Return relations of which more is needed than the selected rows, with all of these."""
        found = {}
        for name, more in self._relations.items():
            parts = (selected[name], *more)
            units = list(selected[name].units)
            both = np.stack([np.concatenate([p.units[u] for p in parts]) for u in units], axis=1)
            distinct = np.unique(both, axis=0)
            found[name] = RelationRows(name, {u: distinct[:, i] for i, u in enumerate(units)})
        return found


def _text(locations: Sequence[str]) -> TextColumn:
    return locations if isinstance(locations, TextColumn) else TextColumn.from_strings(locations)


def _united(parts: Sequence[UnitRows]) -> UnitRows:
    """Return each instance once."""
    ids = np.concatenate([p.ids for p in parts])
    first = np.sort(np.unique(ids, return_index=True)[1])

    def nulls(part: UnitRows, field: str) -> npt.NDArray[np.bool_]:
        return part.nulls.get(field, np.zeros(len(part.ids), bool))

    nullable = {f for p in parts for f in p.nulls}
    return UnitRows(
        parts[0].unit,
        ids=ids[first],
        keys=np.concatenate([p.keys for p in parts])[first],
        links={u: np.concatenate([p.links[u] for p in parts])[first] for u in parts[0].links},
        fields={f: np.concatenate([p.fields[f] for p in parts])[first] for f in parts[0].fields},
        nulls={f: np.concatenate([nulls(p, f) for p in parts])[first] for f in nullable},
    )
