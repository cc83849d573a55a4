"""The registry as one object: what the Butler asks it, in transactions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from supertask.butler.handles import DataIds
from supertask.butler.port import CollectionInfo, CollectionKind
from supertask.butler.registry.backend import Backend
from supertask.butler.registry.catalog import Catalog, CollectionEntry, State, TypeEntry
from supertask.butler.registry.database import Database
from supertask.butler.registry.datasetrows import DatasetRowsWriter, Found
from supertask.butler.registry.inspection import Inspection
from supertask.butler.registry.migrations import check_version
from supertask.butler.registry.reader import RegistryReader
from supertask.butler.registry.schema import SCHEMA_VERSION, Schema
from supertask.butler.registry.unitrows import (
    UnitIds,
    insert_relation,
    insert_relation_rows,
    insert_units,
    remove_relation_rows,
)
from supertask.conditions import Condition
from supertask.datasets import Dataset
from supertask.errors import CollectionError, RepositoryError
from supertask.rows import FileRecord, RelationRows
from supertask.unitmodels import unit_model_from_dict, unit_model_to_dict
from supertask.units import UnitModel

__all__ = ["Registry", "read_meta"]


def read_meta(database: Database) -> tuple[int, UnitModel]:
    """Return the schema version and the unit model of a registry."""
    with database.read() as connection:
        found = {row[0]: row[1] for row in database.backend.ask(connection, "SELECT name, value FROM meta")}
        database.backend.look(connection)
    if "unit_model" not in found:
        raise RepositoryError(f"{database.backend.where} is no registry: it states no unit model")
    return int(found.get("schema_version", 0)), unit_model_from_dict(json.loads(found["unit_model"]))


class _Types(Mapping[str, type[Dataset]]):
    """Dataset types by name, of catalog entries."""

    def __init__(self, entries: Mapping[str, TypeEntry]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> type[Dataset]:
        return self._entries[name].dataset_type

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Registry:
    """What a repository knows.

    Parameters
    ----------
    backend : Backend
        Where it is kept.

    Raises
    ------
    RepositoryError
        There is no registry there.
    RepositoryVersionError
        It was made by a newer version of this software.
    """

    def __init__(self, backend: Backend) -> None:
        self._database = Database(backend)
        self._backend = backend
        version, model = read_meta(self._database)
        check_version(version, backend.where)
        self.model = model
        self._schema = Schema(model)
        self._catalog = Catalog(self._schema, backend)
        self._ids = UnitIds(self._schema)
        self.data_ids = DataIds(model)
        self._rows = DatasetRowsWriter(self._catalog, backend, self._ids, self.data_ids)

    @staticmethod
    def create(backend: Backend, model: UnitModel) -> None:
        """Lay out a new registry."""
        schema = Schema(model)
        tables = schema.described()
        database = Database(backend)
        try:
            with database.write("creating a registry") as connection:
                backend.prepare(connection)
                tables.create_all(connection, checkfirst=False)
                values = {
                    "schema_version": str(SCHEMA_VERSION),
                    "unit_model": json.dumps(unit_model_to_dict(model)),
                    "catalog": "new",
                }
                rows = [{"name": name, "value": value} for name, value in values.items()]
                connection.execute(sa.insert(schema.meta), rows)
        finally:
            database.close()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    @property
    def writeable(self) -> bool:
        """Whether it may be written to."""
        return self._backend.writeable

    def check_writeable(self, what: str) -> None:
        """Raise a `RepositoryError` that says why `what` is not possible, if it is not."""
        if not self._backend.writeable:
            raise RepositoryError(
                f"{what} is not possible: {self._backend.where} is read-only ({self._backend.why_not})"
            )

    # -- catalog --------------------------------------------------------------------------------

    def state(self) -> State:
        """Return the catalog as it is now."""
        with self._database.read() as connection:
            return self._catalog.current(connection)

    def types(self, wanted: str | None = None) -> Mapping[str, type[Dataset]]:
        """Return the known dataset types by name; those at hand do if the one wanted is among them."""
        known = self._catalog.known_types()
        if wanted is None or wanted not in known:
            known = self.state().types
        return _Types(known)

    def register_type(self, dataset_type: type[Dataset]) -> bool:
        """Make a dataset type known; return whether it was new."""
        known = self.state().types.get(dataset_type.name)
        if known is not None and known.dataset_type == dataset_type:
            return False
        with self._database.write("registering a dataset type") as connection:
            return self._catalog.add_type(connection, dataset_type)[1]

    def create_collection(
        self, name: str, kind: CollectionKind, *, children: Sequence[str], doc: str, exist_ok: bool
    ) -> None:
        """Make a collection."""
        if children and kind is not CollectionKind.CHAINED:
            raise CollectionError(f"collection {name!r}: only a CHAINED one has children, not a {kind.name}")
        with self._database.write("making a collection") as connection:
            known = self._catalog.changing(connection).collections.get(name)
            if known is None:
                self._catalog.add_collection(connection, name, kind, children, doc)
                return
            if known.info.kind is not kind:
                raise CollectionError(f"collection {name!r} is there already, as {known.info.kind.name}")
            if not exist_ok:
                raise CollectionError(f"collection {name!r} is there already")
            if children and tuple(children) != known.info.children:
                raise CollectionError(
                    f"chain {name!r} is there already, of {', '.join(known.info.children) or 'nothing'}; "
                    "change it with set_chain"
                )

    def set_chain(self, name: str, children: Sequence[str]) -> None:
        """Replace the children of a chain."""
        with self._database.write("changing a chain") as connection:
            entry = self._catalog.changing(connection).collection(name, CollectionKind.CHAINED)
            self._catalog.set_children(connection, entry, children)

    def collection_infos(self) -> list[CollectionInfo]:
        """Return all collections, oldest first."""
        return [entry.info for entry in self.state().collections.values()]

    def remove_collection(self, name: str) -> list[str]:
        """Remove a collection; of a RUN, return the locations of its datasets."""
        with self._database.write("removing a collection") as connection:
            state = self._catalog.changing(connection)
            entry = state.collection(name)
            chains = [n for n, e in state.collections.items() if name in e.info.children]
            if chains:
                raise CollectionError(
                    f"{name!r} is in {', '.join(chains)}; take it out of there first (set_chain)"
                )
            table = self._schema.collection
            # Whoever is registering in it is waited for; who comes later finds it gone.
            self._catalog.lock_rows(connection, entry)
            run = entry.info.kind is CollectionKind.RUN
            locations = self._rows.remove_run(connection, entry) if run else []
            connection.execute(sa.delete(table).where(table.c.id == entry.id))
            self._catalog.touch(connection)
            return locations

    def set_provenance(self, run: str, provenance: Mapping[str, Any]) -> None:
        """Record what made a run."""
        try:
            text = json.dumps(provenance)
        except (TypeError, ValueError) as error:
            raise RepositoryError(f"the provenance of run {run!r} cannot be kept as JSON: {error}") from None
        with self._database.write("recording provenance") as connection:
            self._catalog.changing(connection)
            entry = self._run(connection, run)
            table = self._schema.collection
            connection.execute(sa.update(table).where(table.c.id == entry.id).values(provenance=text))

    def provenance(self, run: str) -> dict[str, Any]:
        """Return what made a run."""
        with self._database.read() as connection:
            entry = self._catalog.current(connection).collection(run, CollectionKind.RUN)
            table = self._schema.collection
            text = connection.execute(sa.select(table.c.provenance).where(table.c.id == entry.id)).scalar()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    # -- units ----------------------------------------------------------------------------------

    def insert_units(self, unit: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Make instances of a unit known; return how many were new."""
        self.model.unit(unit)
        given = list(rows)
        with self._database.write(f"inserting {unit}") as connection:
            return insert_units(connection, self._schema, self._backend, self._ids, unit, given)

    def insert_relation(self, relation: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Relate units by key; return how many rows were new."""
        given = list(rows)
        with self._database.write(f"inserting into relation {relation!r}") as connection:
            return insert_relation(connection, self._schema, self._backend, self._ids, relation, given)

    def insert_relation_rows(self, rows: RelationRows) -> int:
        """Relate units by row ID; return how many rows were new."""
        with self._database.write(f"inserting into relation {rows.relation!r}") as connection:
            return insert_relation_rows(connection, self._schema, self._backend, rows)

    def remove_relation_rows(self, rows: RelationRows) -> int:
        """Take rows out of a relation by row ID; return how many were there."""
        with self._database.write(f"removing from relation {rows.relation!r}") as connection:
            return remove_relation_rows(connection, self._schema, rows)

    # -- datasets -------------------------------------------------------------------------------

    def _run(self, connection: sa.Connection, run: str) -> CollectionEntry:
        """Return a RUN, made if it is not there."""
        state = self._catalog.current(connection)
        if run not in state.collections:
            state = self._catalog.changing(connection)
        if run not in state.collections:
            return self._catalog.add_collection(connection, run, CollectionKind.RUN, (), "")
        return state.collection(run, CollectionKind.RUN)

    def register(self, run: str, records: Sequence[FileRecord], *, skip_existing: bool = False) -> int:
        """Register datasets whose files are in place; return how many were new."""
        with self._database.write(f"registering datasets in {run!r}") as connection:
            entry = self._run(connection, run)
            return self._rows.register(connection, entry, records, skip_existing=skip_existing)

    @contextmanager
    def registering(self, run: str, record: FileRecord) -> Iterator[None]:
        """Register one dataset if what is done inside, while nobody else can write, succeeds."""
        with self._database.write(f"putting {record.dataset}") as connection:
            self._rows.register(connection, self._run(connection, run), [record], skip_existing=False)
            yield

    def in_run(self, run: str, dataset: Dataset) -> bool:
        """Tell whether a run has a dataset."""
        with self._database.read() as connection:
            state = self._catalog.current(connection)
            known = state.types.get(type(dataset).name)
            if known is None or run not in state.collections:
                return False
            entry = state.collection(run, CollectionKind.RUN)
            return self._rows.in_run(connection, entry, known, dataset)

    def check_units(self, dataset: Dataset) -> None:
        """Raise a `DataIdError` that names the units of a data ID that are not known, if any."""
        with self._database.read() as connection:
            self._ids.of_data_ids(connection, type(dataset).units, [dataset.dataId])

    def find(self, dataset: Dataset, collections: Sequence[str]) -> tuple[Found | None, list[str]]:
        """Return where a dataset is, and the names of the collections that were searched."""
        with self._database.read() as connection:
            state = self._catalog.current(connection)
            search = state.search(collections)
            return self._rows.find(connection, state, search, dataset), [c.info.name for c in search]

    def remove(self, run: str, datasets: Iterable[Dataset], *, skip_missing: bool = False) -> list[str]:
        """Remove datasets of a run; return their locations."""
        with self._database.write(f"removing datasets of {run!r}") as connection:
            entry = self._catalog.current(connection).collection(run, CollectionKind.RUN)
            return self._rows.remove(connection, entry, datasets, skip_missing=skip_missing)

    def tag(self, collection: str, run: str, datasets: Iterable[Dataset]) -> None:
        """Put datasets of a run in a TAGGED collection."""
        with self._database.write(f"tagging into {collection!r}") as connection:
            state = self._catalog.current(connection)
            into = state.collection(collection, CollectionKind.TAGGED)
            self._rows.tag(connection, into, state.collection(run, CollectionKind.RUN), datasets)

    def certify(self, collection: str, run: str, datasets: Iterable[Dataset], begin: int, end: int) -> None:
        """Put calibrations of a run in a CALIBRATION collection for a range of time."""
        with self._database.write(f"certifying into {collection!r}") as connection:
            state = self._catalog.current(connection)
            into = state.collection(collection, CollectionKind.CALIBRATION)
            source = state.collection(run, CollectionKind.RUN)
            self._rows.certify(connection, into, source, datasets, begin, end)

    # -- as a whole -------------------------------------------------------------------------------

    def files(self) -> list[str]:
        """Return the paths of files that it consists of, backups among them; of a server there are none."""
        return self._backend.files()

    def inspection(self) -> Inspection:
        """Return what looks into the tables themselves."""
        return Inspection(self._database, self._schema, self._catalog)

    # -- in bulk ----------------------------------------------------------------------------------

    def reader(self, collections: Sequence[str], where: Condition | None) -> RegistryReader:
        """Return a reader in columns."""
        return RegistryReader(
            self._database.connect(),
            self._database.errors,
            schema=self._schema,
            backend=self._backend,
            catalog=self._catalog,
            collections=collections,
            where=where,
        )
