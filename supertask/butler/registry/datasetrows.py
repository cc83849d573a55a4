"""Datasets in the registry: register, find, remove, tag and certify them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from supertask.butler.handles import DataIds
from supertask.butler.port import CollectionKind
from supertask.butler.registry.backend import Backend
from supertask.butler.registry.catalog import Catalog, CollectionEntry, State, TypeEntry
from supertask.butler.registry.schema import link
from supertask.butler.registry.unitrows import UnitIds
from supertask.datasets import Dataset
from supertask.errors import (
    CollectionError,
    DatasetExistsError,
    DatasetNotFoundError,
    Problems,
    RepositoryError,
)
from supertask.rows import FileRecord
from supertask.times import range_in_words

__all__ = ["DatasetRowsWriter", "Found"]

_CHUNK = 500
_TOLD = 10


@attrs.frozen
class Found:
    """Where a search found a dataset."""

    id: int
    collection: str
    record: FileRecord


class DatasetRowsWriter:
    """Reads and writes single datasets and lists of them, by handle."""

    def __init__(self, catalog: Catalog, backend: Backend, ids: UnitIds, data_ids: DataIds) -> None:
        self._catalog = catalog
        self._backend = backend
        self._ids = ids
        self._data_ids = data_ids

    # -- registering --------------------------------------------------------------------------

    def register(
        self,
        connection: sa.Connection,
        run: CollectionEntry,
        records: Sequence[FileRecord],
        *,
        skip_existing: bool,
    ) -> int:
        """Register datasets in a run; as `AbstractButler.register` promises."""
        by_type: dict[type[Dataset], list[FileRecord]] = {}
        for record in records:
            by_type.setdefault(type(record.dataset), []).append(record)
        # The catalog first, then rows, types in one order for all: see `backend`.
        entries = {}
        for dataset_type in by_type:
            entry, _ = entries[dataset_type] = self._catalog.add_type(connection, dataset_type)
            self._catalog.add_holder(connection, entry, run.id)
        count = 0
        for dataset_type, group in sorted(by_type.items(), key=lambda item: item[0].name):
            entry, _ = entries[dataset_type]
            dataIds = [self._data_ids.complete(dataset_type, r.dataset.dataId) for r in group]
            ids = self._ids.of_data_ids(connection, entry.leaves, dataIds)
            leaves = [ids[u] for u in entry.leaves]
            data = entry.tables.data
            rows = sorted(
                (*leaf_ids, run.id, r.identity, r.location, r.size, r.checksum)
                for r, *leaf_ids in zip(group, *leaves, strict=True)
            )
            for r in group:
                if len(r.identity) != 16:
                    raise RepositoryError(f"{r.dataset}: an identity has 16 bytes, not {len(r.identity)}")
            columns = (*map(link, entry.leaves), "run_id", "identity", "location", "size", "checksum")
            new = self._backend.insert(connection, data, columns, rows)
            if new < len(rows) and not skip_existing:
                self._name_existing(connection, entry, run, group, leaves)
            count += new
        return count

    def _name_existing(
        self,
        connection: sa.Connection,
        entry: TypeEntry,
        run: CollectionEntry,
        group: Sequence[FileRecord],
        leaves: Sequence[Sequence[int]],
    ) -> None:
        """Raise an error that names those which were there, or were given twice."""
        data = entry.tables.data
        problems = Problems(f"run {run.info.name!r}")
        seen: set[tuple[int, ...]] = set()
        for record, *leaf_ids in zip(group, *leaves, strict=True):
            if tuple(leaf_ids) in seen:
                problems.add(f"{record.dataset} is given twice")
            seen.add(tuple(leaf_ids))
            at = [data.c[link(u)] == i for u, i in zip(entry.leaves, leaf_ids, strict=True)]
            row = connection.execute(
                sa.select(data.c.location).where(data.c.run_id == run.id, *at)
            ).one_or_none()
            if row is not None and row.location != record.location:
                problems.add(f"{record.dataset} is there already, at {row.location}")
            if len(problems) > _TOLD:
                problems.add("… and more")
                break
        if not problems:
            problems.add(f"{group[0].dataset} or others of its type are there already")
        problems.raise_if_any(DatasetExistsError)

    def in_run(
        self, connection: sa.Connection, run: CollectionEntry, entry: TypeEntry, dataset: Dataset
    ) -> bool:
        """Tell whether a run has a dataset."""
        ids = self._ids.find(connection, dataset.dataId, entry.leaves)
        if ids is None:
            return False
        data = entry.tables.data
        at = [data.c[link(u)] == ids[u] for u in entry.leaves]
        return (
            connection.execute(sa.select(data.c.id).where(data.c.run_id == run.id, *at)).first() is not None
        )

    # -- finding ------------------------------------------------------------------------------

    def find(
        self, connection: sa.Connection, state: State, search: Sequence[CollectionEntry], dataset: Dataset
    ) -> Found | None:
        """Return the dataset from the first collection that has it."""
        entry = state.types.get(type(dataset).name)
        if entry is None:
            return None
        holders = self._catalog.holders(connection, state, entry)
        search = [c for c in search if c.id in holders]
        ids = self._ids.find(connection, dataset.dataId, entry.leaves) if search else None
        if ids is None:
            return None
        data, tag = entry.tables.data, entry.tables.tag
        rows: dict[int, Any] = {}
        runs = [c.id for c in search if c.info.kind is CollectionKind.RUN]
        if runs:
            at = _at(data, "run_id", runs, entry.leaves, ids)
            rows |= {row.run_id: row for row in connection.execute(sa.select(data).where(*at))}
        tagged = [c.id for c in search if c.info.kind is CollectionKind.TAGGED]
        if tagged:
            at = _at(tag, "collection_id", tagged, entry.leaves, ids)
            select = sa.select(tag.c.collection_id, *data.c).join(data, data.c.id == tag.c.dataset_id)
            rows |= {row.collection_id: row for row in connection.execute(select.where(*at))}
        for collection in search:
            row = rows.get(collection.id)
            if row is not None:
                record = FileRecord(dataset, row.location, row.size, row.checksum, bytes(row.identity))
                return Found(row.id, collection.info.name, record)
        return None

    # -- datasets of one run, many at once -----------------------------------------------------

    def _ids_in_run(
        self,
        connection: sa.Connection,
        run: CollectionEntry,
        datasets: Iterable[Dataset],
        *,
        skip_missing: bool = False,
    ) -> dict[TypeEntry, list[tuple[Dataset, tuple[int, ...], int, str]]]:
        """Return by type: dataset, row IDs of its leaves, dataset ID, location."""
        by_type: dict[type[Dataset], list[Dataset]] = {}
        for dataset in datasets:
            by_type.setdefault(type(dataset), []).append(dataset)
        state = self._catalog.current(connection)
        found: dict[TypeEntry, list[tuple[Dataset, tuple[int, ...], int, str]]] = {}
        problems = Problems(f"run {run.info.name!r}")
        for dataset_type, group in by_type.items():
            entry = state.types.get(dataset_type.name)
            if entry is None:
                problems.add(f"it has no {group[0]}: the repository knows no such dataset type")
                continue
            dataIds = [self._data_ids.complete(dataset_type, d.dataId) for d in group]
            ids = self._ids.columns(connection, entry.leaves, lambda unit, d=dataIds: [i[unit] for i in d])  # type: ignore[misc]
            leaf_ids = list(zip(*(ids[u] for u in entry.leaves), strict=True)) or [()] * len(group)
            there = self._rows_by_leaves(connection, entry, run, leaf_ids)
            rows = found.setdefault(entry, [])
            for dataset, at in zip(group, leaf_ids, strict=True):
                row = there.get(at)
                if row is not None:
                    rows.append((dataset, at, *row))
                elif len(problems) <= _TOLD:
                    problems.add(f"it has no {dataset}")
        if not skip_missing:
            problems.raise_if_any(DatasetNotFoundError)
        return found

    @staticmethod
    def _rows_by_leaves(
        connection: sa.Connection, entry: TypeEntry, run: CollectionEntry, leaf_ids: Sequence[tuple[int, ...]]
    ) -> dict[tuple[int, ...], tuple[int, str]]:
        data = entry.tables.data
        columns = [data.c[link(u)] for u in entry.leaves]
        select = sa.select(*columns, data.c.id, data.c.location).where(data.c.run_id == run.id)
        there: dict[tuple[int, ...], tuple[int, str]] = {}
        if not columns:
            chunks = [select]
        else:
            first = sorted({at[0] for at in leaf_ids})
            chunks = [
                select.where(columns[0].in_(first[i : i + _CHUNK])) for i in range(0, len(first), _CHUNK)
            ]
        for chunk in chunks:
            for row in connection.execute(chunk):
                there[tuple(row[:-2])] = (row[-2], row[-1])
        return there

    def remove(
        self,
        connection: sa.Connection,
        run: CollectionEntry,
        datasets: Iterable[Dataset],
        *,
        skip_missing: bool = False,
    ) -> list[str]:
        """Remove datasets of a run with their tags and validity; return their locations."""
        locations: list[str] = []
        there = self._ids_in_run(connection, run, datasets, skip_missing=skip_missing)
        for entry, rows in there.items():
            data = entry.tables.data
            by_id = {row[2]: row[3] for row in rows}
            numbers = list(by_id)
            for i in range(0, len(numbers), _CHUNK):
                connection.execute(sa.delete(data).where(data.c.id.in_(numbers[i : i + _CHUNK])))
            locations += by_id.values()
        return locations

    def remove_run(self, connection: sa.Connection, run: CollectionEntry) -> list[str]:
        """Remove all datasets of a run; return their locations."""
        state = self._catalog.current(connection)
        locations: list[str] = []
        for entry in state.types.values():
            if run.id in self._catalog.holders(connection, state, entry):
                data = entry.tables.data
                mine = data.c.run_id == run.id
                locations += connection.execute(sa.select(data.c.location).where(mine)).scalars()
                connection.execute(sa.delete(data).where(mine))
        return locations

    def _into(
        self,
        connection: sa.Connection,
        collection: CollectionEntry,
        run: CollectionEntry,
        datasets: Iterable[Dataset],
    ) -> list[tuple[TypeEntry, list[tuple[Dataset, tuple[int, ...], int, str]]]]:
        """Return as `_ids_in_run` what will be put in another collection, which is kept from changing."""
        found = self._ids_in_run(connection, run, datasets)
        for entry in found:
            self._catalog.add_holder(connection, entry, collection.id)
        self._catalog.lock_rows(connection, collection)
        return sorted(found.items(), key=lambda item: item[0].dataset_type.name)

    def tag(
        self,
        connection: sa.Connection,
        collection: CollectionEntry,
        run: CollectionEntry,
        datasets: Iterable[Dataset],
    ) -> None:
        """Put datasets of a run in a TAGGED collection, in place of others of equal data ID."""
        for entry, rows in self._into(connection, collection, run, datasets):
            tag = entry.tables.tag
            at = [tag.c[link(u)] == sa.bindparam(f"_{u}") for u in entry.leaves]
            old = sa.delete(tag).where(tag.c.collection_id == collection.id, *at)
            if entry.leaves:
                where: list[Mapping[str, Any]] = [
                    {f"_{u}": i for u, i in zip(entry.leaves, row[1], strict=True)} for row in rows
                ]
                connection.execute(old, where)
            else:
                connection.execute(old)
            columns = (*map(link, entry.leaves), "collection_id", "dataset_id")
            values = sorted({(*row[1], collection.id, row[2]) for row in rows})
            self._backend.insert(connection, tag, columns, values)

    def certify(
        self,
        connection: sa.Connection,
        collection: CollectionEntry,
        run: CollectionEntry,
        datasets: Iterable[Dataset],
        begin: int,
        end: int,
    ) -> None:
        """Put calibrations of a run in a CALIBRATION collection for a range of time."""
        for entry, rows in self._into(connection, collection, run, datasets):
            validity, data = entry.tables.validity, entry.tables.data
            problems = Problems(f"collection {collection.info.name!r}")
            for dataset, leaf_ids, _, _ in rows:
                at = [validity.c[link(u)] == i for u, i in zip(entry.leaves, leaf_ids, strict=True)]
                other = connection.execute(
                    sa.select(validity.c.begin, validity.c.end, data.c.location)
                    .join(data, data.c.id == validity.c.dataset_id)
                    .where(
                        validity.c.collection_id == collection.id,
                        validity.c.begin < end,
                        validity.c.end > begin,
                        *at,
                    )
                ).first()
                if other is not None and len(problems) <= _TOLD:
                    problems.add(
                        f"{dataset} of run {run.info.name!r} cannot be valid {range_in_words(begin, end)}: "
                        f"{other.location} is valid {range_in_words(other.begin, other.end)}, which "
                        "overlaps; certify it for what is left, or into another collection"
                    )
            if len({row[1] for row in rows}) < len(rows):
                problems.add(f"one data ID of {entry.dataset_type.name!r} is given more than once")
            problems.raise_if_any(CollectionError)
            columns = (*map(link, entry.leaves), "collection_id", "dataset_id", "begin", "end")
            values = sorted((*row[1], collection.id, row[2], begin, end) for row in rows)
            self._backend.insert(connection, validity, columns, values)


def _at(
    table: sa.Table, group: str, groups: Sequence[int], leaves: Sequence[str], ids: Mapping[str, int]
) -> list[sa.ColumnElement[bool]]:
    """Return the condition that finds one data ID in some collections through the unique index."""
    if len(groups) <= _CHUNK:
        return [table.c[group].in_(groups), *(table.c[link(u)] == ids[u] for u in leaves)]
    # Through the index's first column; "+ 0" keeps an index on another leaf from being preferred.
    first = [table.c[link(u)] == ids[u] for u in leaves[:1]]
    return [*first, *(table.c[link(u)] + 0 == ids[u] for u in leaves[1:])]
