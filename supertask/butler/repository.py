"""Butler: a data repository in a folder, with its registry in a database beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from supertask.butler.content import content_identity
from supertask.butler.datastore import Datastore
from supertask.butler.handles import type_by_name
from supertask.butler.layout import SQLITE_FILE, Layout
from supertask.butler.port import AbstractButler, CollectionInfo, CollectionKind, Reader
from supertask.butler.querying import handles, narrow, required_keys, unit_dicts
from supertask.butler.registry.catalog import check_same_type
from supertask.butler.registry.datasetrows import Found
from supertask.butler.registry.location import connect, new, opened_by, stated
from supertask.butler.registry.registry import Registry
from supertask.conditions import Condition
from supertask.datasets import Dataset
from supertask.errors import DatasetExistsError, DatasetNotFoundError, RepositoryError, StorageError
from supertask.rows import FileRecord, RelationRows
from supertask.times import tai_ns
from supertask.unitmodels import load_unit_model
from supertask.units import UnitModel

__all__ = ["Butler"]

_ALWAYS = (-(2**63), 2**63 - 1)


class Butler(AbstractButler):
    """A data repository.

    Parameters
    ----------
    path : path
        Its root folder.
    collections : sequence of str or str
        Where to search, in order; empty means every RUN, newest first, then TAGGED.
    run : str, optional
        RUN collection that `put` writes to; it is made when first written to.
    writeable : bool
        Whether to write. On a read-only mount only reading is possible in any case.
    registry : str, optional
        URL of the registry if it is reached in another way than ``supertask.yaml`` says: as another user, by
        another route, with a password.

    Raises
    ------
    RepositoryError
        There is no repository at `path`.
    RepositoryVersionError
        It was made by a newer version of this software.

    Examples
    --------
    >>> butler = Butler.create("repo", "imaging")  # doctest: +SKIP
    >>> butler.insert_units("instrument", [{"instrument": "Cam"}])  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path,
        collections: Sequence[str] | str = (),
        run: str | None = None,
        *,
        writeable: bool = True,
        registry: str | None = None,
    ) -> None:
        self.root = os.path.abspath(path)
        layout = Layout.read(self.root)
        self.repository_id = layout.id
        self._registry = Registry(connect(registry or layout.registry, self.root, writeable=writeable))
        self.model = self._registry.model
        self.datastore = Datastore(self.root, layout.templates)
        self.run = run
        self.collections = (collections,) if isinstance(collections, str) else tuple(collections)

    @classmethod
    def create(
        cls,
        path: str | Path,
        unit_model: str | Path | UnitModel = "imaging",
        *,
        registry: str | None = None,
    ) -> Butler:
        """Make a repository and return its Butler.

        Parameters
        ----------
        path : path
            Folder for it; made if it is not there.
        unit_model : str or path or UnitModel
            Name of a model (``imaging``, ``spectra``), a YAML file with one, or a model.
        registry : str, optional
            Where the registry is: ``sqlite:`` and a path, or ``postgresql://USER@HOST/DATABASE?schema=NAME``,
            where the schema is made up unless named; in the folder unless given. A password is used and not
            kept: who opens the repository has his in ``~/.pgpass`` or ``$PGPASSWORD``.

        Raises
        ------
        RepositoryError
            There is one already, or it cannot be made.
        UnitModelError
            The unit model is not valid.
        """
        root = os.path.abspath(path)
        if not root.isprintable() and any("\ud800" <= c <= "\udfff" for c in root):
            raise RepositoryError(f"a repository cannot be made at {root!r}: the path is not valid UTF-8")
        model = load_unit_model(unit_model)
        layout = Layout(model.name, registry or f"sqlite:{SQLITE_FILE}")
        layout = attrs.evolve(layout, registry=stated(layout.registry, layout.id))
        url = opened_by(registry, layout.registry)
        try:
            os.makedirs(root, exist_ok=True)
            layout.check_vacant(root)
            # Whatever interrupts this leaves no repository: the layout is written last.
            with new(url, root) as backend:
                Registry.create(backend, model)
            try:
                layout.write(root)
            except BaseException:
                backend.discard()
                raise
        except OSError as error:
            why = error.strerror or str(error)
            raise RepositoryError(f"a repository cannot be made at {root}: {why}") from error
        return cls(root, registry=url)

    @property
    def registry(self) -> Registry:
        """What it knows, as tables: for those who look after it."""
        return self._registry

    def close(self) -> None:
        """Close connections to the registry."""
        self._registry.close()

    def __repr__(self) -> str:
        search = ", ".join(self.collections) or "every RUN"
        return f"<Butler of {self.root}: searches {search}, writes to {self.run or 'no run'}>"

    # -- dataset types ------------------------------------------------------------------------

    def register_type(self, dataset_type: type[Dataset]) -> bool:
        """Make a dataset type known; return whether it was new."""
        return self._registry.register_type(dataset_type)

    def dataset_types(self) -> dict[str, type[Dataset]]:
        """Return all known dataset types by name."""
        return dict(self._registry.types())

    def _handle(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None,
        units: Mapping[str, Any],
    ) -> Dataset:
        known = self._registry.types(dataset if isinstance(dataset, str) else dataset.name)
        handle = self._registry.data_ids.handle(dataset, dataId, units, known)
        if handle.name in known:
            check_same_type(type(handle), known[handle.name])
        return handle

    # -- datasets -----------------------------------------------------------------------------

    def get(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        *,
        parameters: Mapping[str, Any] | None = None,
        **units: Any,
    ) -> Any:
        """Read a dataset; see `DatasetSource.get`."""
        handle = self._handle(dataset, dataId, units)
        record = self._find(handle, self.collections).record
        return self.datastore.read(type(handle), record.location, parameters, what=handle)

    def _find(self, handle: Dataset, collections: Sequence[str]) -> Found:
        found, searched = self._registry.find(handle, collections)
        if found is None:
            where = (
                f"collections searched: {', '.join(searched)}"
                if searched
                else "there is no collection to search"
            )
            raise DatasetNotFoundError(f"there is no {handle}; {where}")
        return found

    def put(
        self,
        value: Any,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        *,
        run: str | None = None,
        **units: Any,
    ) -> Dataset:
        """Write a dataset to a run, once and whole, and register it; see `DatasetSource.put`.

        Parameters
        ----------
        value, dataset, dataId, **units
            As for `DatasetSource.put`.
        run : str, optional
            RUN collection; the Butler's own unless given.
        """
        run = run or self.run
        handle = self._handle(dataset, dataId, units)
        if run is None:
            raise RepositoryError(
                f"{handle} cannot be put: no run is set; give put(…, run='u/me/run1') "
                "or open the repository with Butler(path, run='u/me/run1')"
            )
        self._registry.check_writeable(f"putting {handle}")
        if self._registry.in_run(run, handle):
            raise DatasetExistsError(
                f"{handle} is in run {run!r} already, and what is in a run is written once"
            )
        self._registry.check_units(handle)
        location = self.location_for(handle, run)
        written = self.datastore.write(value, type(handle), location, what=handle)
        try:
            identity = content_identity(handle.name, handle.dataId, written.checksum)
            record = FileRecord(handle, location, written.size, written.checksum, identity)
            # While the registry is ours alone nobody else can be putting it, so that a file that is
            # in the way is what an interrupted put left, and may be replaced.
            with self._registry.registering(run, record):
                written.publish()
        finally:
            written.drop()
        return handle

    def exists(
        self, dataset: Dataset | type[Dataset] | str, dataId: Mapping[str, Any] | None = None, /, **units: Any
    ) -> bool:
        """Tell whether a dataset is registered and its file is there."""
        found, _ = self._registry.find(self._handle(dataset, dataId, units), self.collections)
        return found is not None and self.datastore.exists(found.record.location)

    def query(
        self,
        dataset_type: type[Dataset] | str,
        *,
        collections: Sequence[str] | None = None,
        where: Condition | None = None,
        **units: Any,
    ) -> list[Dataset]:
        """Return the datasets of a type that match, sorted by data ID; see `AbstractButler.query`."""
        if isinstance(dataset_type, str):
            dataset_type = type_by_name(dataset_type, self._registry.types(dataset_type))
        keys = required_keys(self.model, dataset_type, units)
        with self.reader(collections=collections, where=narrow(where, keys)) as reader:
            return handles(self.model, reader, dataset_type, keys)

    def locate(self, dataset: Dataset, *, collections: Sequence[str] | None = None) -> FileRecord:
        """Return what is known of a dataset."""
        search = self.collections if collections is None else collections
        return self._find(self._handle(dataset, None, {}), search).record

    def path_of(self, dataset: Dataset) -> str:
        """Return the absolute path of a dataset's file."""
        return self.datastore.path(self.locate(dataset).location)

    def verify(self, dataset: Dataset) -> None:
        """Compare a dataset's file with what was registered.

        Raises
        ------
        DatasetNotFoundError
            There is no such dataset.
        StorageError
            Its file is gone, or was altered.
        """
        record = self.locate(dataset)
        path = self.datastore.path(record.location)
        if not os.path.exists(path):
            raise StorageError(f"{dataset} is registered, but its file {path} is gone")
        size = os.path.getsize(path)
        if record.size >= 0 and size != record.size:
            raise StorageError(
                f"{dataset}: its file {path} has {size} bytes, and had {record.size} when registered"
            )
        if record.checksum and self.datastore.checksum(record.location) != record.checksum:
            raise StorageError(f"{dataset}: the bytes of its file {path} are not those that were registered")

    def register(self, run: str, records: Iterable[FileRecord], *, skip_existing: bool = False) -> int:
        """Register datasets whose files are in place already, all or none; return how many were new."""
        return self._registry.register(run, list(records), skip_existing=skip_existing)

    def remove(self, datasets: Iterable[Dataset], *, run: str, skip_missing: bool = False) -> int:
        """Remove datasets of a run; return how many were removed."""
        locations = self._registry.remove(run, dict.fromkeys(datasets), skip_missing=skip_missing)
        # Unregistered first: if this is interrupted files are left over, never datasets without them.
        for location in locations:
            self.datastore.remove(location)
        return len(locations)

    # -- units and relations ------------------------------------------------------------------

    def insert_units(self, unit: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Make instances of a unit known; return how many were new."""
        return self._registry.insert_units(unit, rows)

    def units(self, unit: str, where: Condition | None = None) -> list[dict[str, Any]]:
        """Return instances of a unit as rows like those of `insert_units`, sorted by key."""
        with self.reader(where=where) as reader:
            return unit_dicts(self.model, reader, unit)

    def insert_relation(self, relation: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Relate units by key; return how many rows were new."""
        return self._registry.insert_relation(relation, rows)

    def insert_relation_rows(self, rows: RelationRows) -> int:
        """Relate units by row ID, in bulk; return how many rows were new."""
        return self._registry.insert_relation_rows(rows)

    def remove_relation_rows(self, rows: RelationRows) -> int:
        """Take rows out of a relation by row ID, in bulk; return how many were there."""
        return self._registry.remove_relation_rows(rows)

    # -- collections --------------------------------------------------------------------------

    def create_collection(
        self,
        name: str,
        kind: CollectionKind | str,
        *,
        children: Sequence[str] = (),
        doc: str = "",
        exist_ok: bool = True,
    ) -> None:
        """Make a collection; making it again in equal kind does no harm."""
        of = CollectionKind.of(kind)
        self._registry.create_collection(name, of, children=children, doc=doc, exist_ok=exist_ok)

    def set_chain(self, name: str, children: Sequence[str]) -> None:
        """Replace the children of a chain."""
        self._registry.set_chain(name, children)

    def collection_infos(self) -> list[CollectionInfo]:
        """Return all collections, oldest first."""
        return self._registry.collection_infos()

    def remove_collection(self, name: str) -> None:
        """Remove a collection; of a RUN, its datasets and files too."""
        for location in self._registry.remove_collection(name):
            self.datastore.remove(location)

    def tag(self, collection: str, datasets: Iterable[Dataset], *, run: str) -> None:
        """Put datasets of a run in a TAGGED collection; they replace others of equal data ID."""
        self._registry.tag(collection, run, dict.fromkeys(datasets))

    def certify(
        self, collection: str, datasets: Iterable[Dataset], begin: Any, end: Any, *, run: str
    ) -> None:
        """Put calibrations of a run in a CALIBRATION collection for a range of time."""
        first = _ALWAYS[0] if begin is None else tai_ns(begin)
        last = _ALWAYS[1] if end is None else tai_ns(end)
        if first >= last:
            raise RepositoryError(f"a range of time must end after it begins; this is from {begin} to {end}")
        self._registry.certify(collection, run, dict.fromkeys(datasets), first, last)

    # -- provenance of runs -------------------------------------------------------------------

    def set_run_provenance(self, run: str, provenance: Mapping[str, Any]) -> None:
        """Record, as JSON, what made a run."""
        self._registry.set_provenance(run, provenance)

    def run_provenance(self, run: str) -> dict[str, Any]:
        """Return what `set_run_provenance` recorded, or an empty dict."""
        return self._registry.provenance(run)

    # -- in bulk ------------------------------------------------------------------------------

    def reader(self, *, collections: Sequence[str] | None = None, where: Condition | None = None) -> Reader:
        """Return a reader in columns, narrowed to what `where` admits."""
        return self._registry.reader(self.collections if collections is None else collections, where)

    def location_for(self, dataset: Dataset, run: str) -> str:
        """Return where the template puts a dataset of a run, relative to the root."""
        dataId = self._registry.data_ids.complete(type(dataset), dataset.dataId)
        return self.datastore.location_for(type(dataset), dataId, run)
