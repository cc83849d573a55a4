"""A reader that makes columns of what an `InMemoryButler` holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from supertask.butler.memorycontents import Contents, Dated, Keys, Stored
from supertask.butler.port import Reader
from supertask.conditions import Condition, Name, conjuncts, evaluate, names
from supertask.datasets import Dataset
from supertask.errors import DataIdError, did_you_mean
from supertask.rows import DatasetRows, MadeRows, RelationRows, UnitRows, ValidityRows
from supertask.units import FieldKind, KeyKind

__all__ = ["MemoryReader"]

_DTYPES: dict[FieldKind, Any] = {
    FieldKind.INT: np.int64,
    FieldKind.TIME: np.int64,
    FieldKind.FLOAT: np.float64,
    FieldKind.BOOL: bool,
    FieldKind.STR: object,
}
_EMPTY: dict[FieldKind, Any] = {
    FieldKind.INT: -1,
    FieldKind.TIME: -1,
    FieldKind.FLOAT: np.nan,
    FieldKind.BOOL: True,
    FieldKind.STR: "",
}


class MemoryReader(Reader):
    """A reader of what a repository in memory held when the reader was made."""

    def __init__(
        self,
        contents: Contents,
        collections: Sequence[dict[Dataset, Stored]],
        dated: Sequence[list[Dated]],
        where: Condition | None,
        runs: Mapping[str, dict[Dataset, Stored]],
    ) -> None:
        self._contents = contents
        self._runs = runs
        self._model = contents.model
        self._collections = collections
        self._dated = dated
        self._conjuncts = conjuncts(where)
        self._restricted: list[tuple[str, frozenset[int]]] = []
        for condition in self._conjuncts:
            for name in names(condition):
                self._kind(name)

    def restrict(self, unit: str, ids: npt.NDArray[np.int64]) -> None:
        """Admit from now on only these row IDs of a unit (and rows where it is null)."""
        self._model.unit(unit)
        self._restricted.append((unit, frozenset(ids.tolist())))

    def _kind(self, name: Name) -> KeyKind | FieldKind:
        unit = self._model.unit(name.unit)
        if name.field is None:
            return unit.key
        field = unit.field(name.field)
        if field is None:
            known = [f.name for f in unit.fields]
            raise DataIdError(
                f"unit {name.unit!r} has no field {name.field!r}{did_you_mean(name.field, known)}"
            )
        return field.kind

    # -- what is admitted -------------------------------------------------------------------------

    def _admitted(self, leaves: tuple[str, ...], rows: Sequence[Mapping[str, Keys]]) -> npt.NDArray[np.bool_]:
        """Return which rows are admitted; each gives the keys of its leaf units."""
        admitted = np.ones(len(rows), bool)
        determined = set(self._model.determined(leaves))
        for condition in self._conjuncts:
            if {n.unit for n in names(condition)} <= determined and len(rows):
                admitted &= evaluate(condition, lambda name: self._column(leaves, rows, name))
        for unit, ids in self._restricted:
            if unit in determined:
                for i, keys in enumerate(self._follow(leaves, rows, unit)):
                    if keys is not None and self._contents.units[unit][keys].id not in ids:
                        admitted[i] = False
        return admitted

    def _follow(
        self, leaves: tuple[str, ...], rows: Sequence[Mapping[str, Keys]], unit: str
    ) -> list[Keys | None]:
        way = self._model.route(leaves, unit) or ()
        return [self._contents.follow(way, row[way[0]]) for row in rows]

    def _column(
        self, leaves: tuple[str, ...], rows: Sequence[Mapping[str, Keys]], name: Name
    ) -> tuple[Any, Any]:
        values: list[Any] = []
        for keys in self._follow(leaves, rows, name.unit):
            if keys is None:
                values.append(None)
            elif name.field is None:
                own = dict(zip(self._model.closure([name.unit]), keys, strict=True))
                values.append(own[name.unit])
            else:
                values.append(self._contents.units[name.unit][keys].fields[name.field])
        kind = self._kind(name)
        if isinstance(kind, KeyKind):
            kind = FieldKind.INT if kind is KeyKind.INT else FieldKind.STR
        return _typed(values, kind)

    # -- columns ----------------------------------------------------------------------------------

    def units(self, unit: str, fields: Collection[str] | None = None) -> UnitRows:
        """Return the selected instances of a unit, with these of its fields (all unless given)."""
        declared = self._model.unit(unit)
        known = [f.name for f in declared.fields]
        for name in fields or ():
            if name not in known:
                raise DataIdError(f"unit {unit!r} has no field {name!r}{did_you_mean(name, known)}")
        instances = self._contents.units[unit]
        admitted = self._admitted((unit,), [{unit: keys} for keys in instances])
        chosen = [item for item, keep in zip(instances.items(), admitted, strict=True) if keep]
        closure = self._model.closure([unit])
        own = [dict(zip(closure, keys, strict=True)) for keys, _ in chosen]
        links = {
            p: self._ids(p, [self._contents.keys_of(p, values) for values in own]) for p in declared.parents
        }
        links |= {u: self._ids(u, [instance.implied[u] for _, instance in chosen]) for u in declared.implies}
        columns = {
            f.name: _typed([instance.fields[f.name] for _, instance in chosen], f.kind)
            for f in declared.fields
            if fields is None or f.name in fields
        }
        key_kind = FieldKind.INT if declared.key is KeyKind.INT else FieldKind.STR
        return UnitRows(
            unit,
            ids=np.array([instance.id for _, instance in chosen], np.int64),
            keys=_typed([values[unit] for values in own], key_kind)[0],
            links=links,
            fields={name: values for name, (values, _) in columns.items()},
            nulls={name: null for name, (_, null) in columns.items() if null is not None},
        )

    def _ids(self, unit: str, keys: Sequence[Keys | None]) -> npt.NDArray[np.int64]:
        instances = self._contents.units[unit]
        return np.array([-1 if k is None else instances[k].id for k in keys], np.int64)

    def datasets(self, dataset_type: type[Dataset]) -> DatasetRows:
        """Return the selected datasets of a type in the collections searched, first found first."""
        found: dict[Dataset, Stored] = {}
        for collection in self._collections:
            for handle, stored in collection.items():
                if type(handle) == dataset_type:  # noqa: E721 - types of equal value are one
                    found.setdefault(handle, stored)
        return self._rows(dataset_type, list(found.values()))[0]

    def made(self, dataset_type: type[Dataset]) -> MadeRows:
        """Return the selected datasets of a type in every RUN collection searched."""
        stored, run = [], []
        for place, datasets in enumerate(self._runs.values()):
            mine = [s for handle, s in datasets.items() if type(handle) == dataset_type]  # noqa: E721
            stored += mine
            run += [place] * len(mine)
        rows, admitted = self._rows(dataset_type, stored)
        return MadeRows(rows, tuple(self._runs), np.array(run, np.int64)[admitted])

    def _rows(
        self, dataset_type: type[Dataset], stored: Sequence[Stored]
    ) -> tuple[DatasetRows, npt.NDArray[np.bool_]]:
        leaves = self._model.leaves(dataset_type.units)
        rows = [{u: self._contents.keys_of(u, s.record.dataset.dataId) for u in leaves} for s in stored]
        admitted = self._admitted(leaves, rows)
        chosen = [(s, row) for s, row, keep in zip(stored, rows, admitted, strict=True) if keep]
        identities = b"".join(s.record.identity for s, _ in chosen)
        return DatasetRows(
            dataset_type,
            ids=np.array([s.id for s, _ in chosen], np.int64),
            units={u: self._ids(u, [row[u] for _, row in chosen]) for u in leaves},
            identities=np.frombuffer(identities, np.uint8).reshape(-1, 16),
            locations=[s.record.location for s, _ in chosen],
            sizes=np.array([s.record.size for s, _ in chosen], np.int64),
        ), admitted

    def calibrations(self, dataset_type: type[Dataset]) -> list[ValidityRows]:
        """Return, for each CALIBRATION collection searched and in its order, what is valid when."""
        out = []
        for dated in self._dated:
            mine = [d for d in dated if d.stored.record.dataset.name == dataset_type.name]
            if not mine:
                continue
            rows, admitted = self._rows(dataset_type, [d.stored for d in mine])
            begin = np.array([d.begin for d in mine], np.int64)[admitted]
            end = np.array([d.end for d in mine], np.int64)[admitted]
            out.append(ValidityRows(rows, begin, end))
        return out

    def relation(self, name: str) -> RelationRows:
        """Return the selected rows of a relation."""
        leaves = self._contents.relation_leaves(self._model.relation(name))
        by_id = {u: {instance.id: keys for keys, instance in self._contents.units[u].items()} for u in leaves}
        related = sorted(self._contents.relations[name])
        rows = [{u: by_id[u][i] for u, i in zip(leaves, ids, strict=True)} for ids in related]
        table = np.array(related, np.int64).reshape(-1, len(leaves))[self._admitted(leaves, rows)]
        return RelationRows(name, {u: table[:, i] for i, u in enumerate(leaves)})


def _typed(values: Sequence[Any], kind: FieldKind) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Return values as a column, and where they are null, or None where none is."""
    null = np.array([v is None for v in values], bool)
    column = np.empty(len(values), _DTYPES[kind])
    column[:] = [_EMPTY[kind] if v is None else v for v in values]
    return column, (null if null.any() else None)
