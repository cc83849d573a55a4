"""InMemoryButler: a data repository in plain dicts.

It is the model that other Butlers are tested against, and serves tests of tasks and of preflight
that want no files. It is written to be plain, not quick.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from supertask.butler.content import checksum_bytes, content_identity
from supertask.butler.datastore import Datastore
from supertask.butler.handles import DataIds, type_by_name
from supertask.butler.memorycontents import Contents, Dated, Stored
from supertask.butler.memoryreader import MemoryReader
from supertask.butler.port import AbstractButler, CollectionInfo, CollectionKind, Reader
from supertask.butler.querying import handles, narrow, required_keys, unit_dicts
from supertask.butler.templates import DEFAULT_TEMPLATE, PathTemplate, check_run_name
from supertask.conditions import Condition
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import (
    CollectionError,
    DataIdError,
    DatasetExistsError,
    DatasetNotFoundError,
    DatasetTypeError,
    Problems,
    RepositoryError,
    StorageError,
    did_you_mean,
)
from supertask.formats.find import find_format
from supertask.rows import FileRecord, RelationRows
from supertask.times import range_in_words, tai_ns
from supertask.unitmodels import load_unit_model
from supertask.units import UnitModel

__all__ = ["InMemoryButler"]

_ALWAYS = (-(2**63), 2**63 - 1)


@attrs.define
class _Collection:
    """A collection; which of its parts are used depends on its kind."""

    info: CollectionInfo
    datasets: dict[Dataset, Stored] = attrs.field(factory=dict)
    dated: list[Dated] = attrs.field(factory=list)
    provenance: str = ""


class InMemoryButler(AbstractButler):
    """A data repository in memory.

    Parameters
    ----------
    unit_model : str or path or UnitModel
        Name of a model, a YAML file with one, or a model.
    collections : sequence of str or str
        Where to search, in order; empty means every RUN, newest first, then TAGGED.
    run : str, optional
        RUN collection that `put` writes to.
    """

    def __init__(
        self,
        unit_model: str | UnitModel = "imaging",
        collections: Sequence[str] | str = (),
        run: str | None = None,
    ) -> None:
        self.model = load_unit_model(unit_model)
        self.repository_id = uuid.uuid4().hex
        self.root = ""
        self.collections = (collections,) if isinstance(collections, str) else tuple(collections)
        self.run = run
        self._data_ids = DataIds(self.model)
        self._contents = Contents(self.model)
        self._types: dict[str, type[Dataset]] = {}
        self._collections: dict[str, _Collection] = {}
        # Of files: those that were registered where they are. Nothing is ever written.
        self._files = Datastore(os.sep, {"default": PathTemplate.parse(DEFAULT_TEMPLATE)})

    # -- dataset types ------------------------------------------------------------------------

    def register_type(self, dataset_type: type[Dataset]) -> bool:
        """Make a dataset type known; return whether it was new."""
        self.model.closure(dataset_type.units)
        self._check_same(dataset_type)
        new = dataset_type.name not in self._types
        self._types.setdefault(dataset_type.name, dataset_type)
        return new

    def dataset_types(self) -> dict[str, type[Dataset]]:
        """Return all known dataset types by name."""
        return dict(self._types)

    def _handle(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None,
        units: Mapping[str, Any],
    ) -> Dataset:
        handle = self._data_ids.handle(dataset, dataId, units, self._types)
        self._check_same(type(handle))
        return handle

    def _check_same(self, dataset_type: type[Dataset]) -> None:
        known = self._types.get(dataset_type.name, dataset_type)
        if known != dataset_type:
            raise DatasetTypeError(
                f"{dataset_type!r} is not {known!r}, which the repository knows by that name"
            )

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
        """Return a copy of a dataset's value, or a part of it."""
        handle = self._handle(dataset, dataId, units)
        stored = self._find(handle, self.collections)
        storage = find_format(type(handle).storage)
        parameters = storage.check_parameters(parameters)
        if not stored.has_value:
            return self._files.read(type(handle), stored.record.location, parameters, what=handle)
        if not parameters:
            return copy.deepcopy(stored.value)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, f"part{storage.extension}")
            storage.write(stored.value, path)
            return storage.read(path, parameters)

    def _find(self, handle: Dataset, names: Sequence[str]) -> Stored:
        searched = self._search(names)
        for collection in searched:
            found = collection.datasets.get(handle)
            if found is not None:
                return found
        listing = ", ".join(c.info.name for c in searched)
        raise DatasetNotFoundError(
            f"there is no {handle}; "
            + (f"collections searched: {listing}" if listing else "there is nowhere to search")
        )

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
        """Keep a copy of a value in a run, once."""
        run = run or self.run
        handle = self._handle(dataset, dataId, units)
        if run is None:
            raise RepositoryError(f"{handle} cannot be put: no run is set; give put(…, run='u/me/run1')")
        if run in self._collections and handle in self._collections[run].datasets:
            raise DatasetExistsError(
                f"{handle} is in run {run!r} already, and what is in a run is written once"
            )
        self._check_known(handle)
        storage = find_format(type(handle).storage)
        try:
            data = storage.encode(value)
        except StorageError as error:
            raise StorageError(f"{handle} cannot be written as {storage.name}: {error}") from error
        checksum = "" if data is None else checksum_bytes(data)
        identity = content_identity(handle.name, handle.dataId, checksum)
        size = -1 if data is None else len(data)
        record = FileRecord(handle, self.location_for(handle, run), size, checksum, identity)
        stored = Stored(self._contents.new_id(), record, copy.deepcopy(value), has_value=True)
        self.register_type(type(handle))
        self._run(run).datasets[handle] = stored
        return handle

    def _check_known(self, handle: Dataset) -> None:
        problems = Problems(f"{handle}")
        for unit in self.model.closure(type(handle).units):
            keys = self._contents.keys_of(unit, handle.dataId)
            if keys not in self._contents.units[unit]:
                problems.add(f"{unit} {handle.dataId[unit]!r} is not known; insert it first")
        problems.raise_if_any(DataIdError)

    def exists(
        self, dataset: Dataset | type[Dataset] | str, dataId: Mapping[str, Any] | None = None, /, **units: Any
    ) -> bool:
        """Tell whether a dataset is there."""
        try:
            stored = self._find(self._handle(dataset, dataId, units), self.collections)
        except DatasetNotFoundError:
            return False
        return stored.has_value or self._files.exists(stored.record.location)

    def query(
        self,
        dataset_type: type[Dataset] | str,
        *,
        collections: Sequence[str] | None = None,
        where: Condition | None = None,
        **units: Any,
    ) -> list[Dataset]:
        """Return the datasets of a type that match, sorted by data ID."""
        if isinstance(dataset_type, str):
            dataset_type = type_by_name(dataset_type, self._types)
        keys = required_keys(self.model, dataset_type, units)
        reader = self.reader(collections=collections, where=narrow(where, keys))
        return handles(self.model, reader, dataset_type, keys)

    def locate(self, dataset: Dataset, *, collections: Sequence[str] | None = None) -> FileRecord:
        """Return what is known of a dataset."""
        search = self.collections if collections is None else collections
        return self._find(self._handle(dataset, None, {}), search).record

    def register(self, run: str, records: Iterable[FileRecord], *, skip_existing: bool = False) -> int:
        """Register datasets whose files are in place already, all or none; return how many were new."""
        if run not in self._collections:
            self._check_name(run)
        there = self._run(run).datasets if run in self._collections else {}
        new: dict[Dataset, FileRecord] = {}
        for record in records:
            handle = self._handle(record.dataset, None, {})
            self._check_known(handle)
            if len(record.identity) != 16:
                raise RepositoryError(f"{handle}: an identity has 16 bytes, not {len(record.identity)}")
            if handle not in there and handle not in new:
                new[handle] = attrs.evolve(record, dataset=handle)
            elif not skip_existing:
                raise DatasetExistsError(f"run {run!r}: {handle} is there already, or given twice")
        for handle, record in new.items():
            self.register_type(type(handle))
            self._run(run).datasets[handle] = Stored(self._contents.new_id(), record)
        return len(new)

    def remove(self, datasets: Iterable[Dataset], *, run: str, skip_missing: bool = False) -> int:
        """Remove datasets of a run, with their tags and validity; return how many were removed."""
        if skip_missing:
            there = self._collection(run, CollectionKind.RUN).datasets
            datasets = [d for d in (self._handle(d, None, {}) for d in datasets) if d in there]
        wanted = self._in_run(run, datasets)
        gone = {id(stored) for stored in wanted.values()}
        for handle in wanted:
            del self._collections[run].datasets[handle]
        self._forget(gone)
        return len(wanted)

    def _forget(self, gone: set[int]) -> None:
        for collection in self._collections.values():
            collection.datasets = {h: s for h, s in collection.datasets.items() if id(s) not in gone}
            collection.dated = [d for d in collection.dated if id(d.stored) not in gone]

    def _in_run(self, run: str, datasets: Iterable[Dataset]) -> dict[Dataset, Stored]:
        there = self._collection(run, CollectionKind.RUN).datasets
        problems = Problems(f"run {run!r}")
        wanted = {}
        for dataset in datasets:
            handle = self._handle(dataset, None, {})
            if handle in there:
                wanted[handle] = there[handle]
            else:
                problems.add(f"it has no {handle}")
        problems.raise_if_any(DatasetNotFoundError)
        return wanted

    # -- units and relations ------------------------------------------------------------------

    def insert_units(self, unit: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Make instances of a unit known; return how many were new."""
        return self._contents.insert_units(unit, list(rows))

    def units(self, unit: str, where: Condition | None = None) -> list[dict[str, Any]]:
        """Return instances of a unit as rows like those of `insert_units`, sorted by key."""
        return unit_dicts(self.model, self.reader(where=where), unit)

    def insert_relation(self, relation: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Relate units by key; return how many rows were new."""
        return self._contents.insert_relation(relation, list(rows))

    def insert_relation_rows(self, rows: RelationRows) -> int:
        """Relate units by row ID; return how many rows were new."""
        return self._contents.insert_relation_rows(rows)

    def remove_relation_rows(self, rows: RelationRows) -> int:
        """Take rows out of a relation by row ID; return how many were there."""
        return self._contents.remove_relation_rows(rows)

    # -- collections --------------------------------------------------------------------------

    def _collection(self, name: str, *kinds: CollectionKind) -> _Collection:
        found = self._collections.get(name)
        if found is None:
            raise CollectionError(f"there is no collection {name!r}{did_you_mean(name, self._collections)}")
        if kinds and found.info.kind not in kinds:
            raise CollectionError(
                f"collection {name!r} is {found.info.kind.name}, and must be {kinds[0].name}"
            )
        return found

    @staticmethod
    def _check_name(name: str) -> None:
        wrong = check_run_name(name)
        if wrong:
            raise CollectionError(f"{name!r} is no name for a collection: {wrong}")

    def _run(self, run: str) -> _Collection:
        if run not in self._collections:
            self.create_collection(run, CollectionKind.RUN)
        return self._collection(run, CollectionKind.RUN)

    def _search(self, names: Sequence[str]) -> list[_Collection]:
        if not names:
            backwards = list(reversed(self._collections.values()))
            kinds = (CollectionKind.RUN, CollectionKind.TAGGED)
            return [c for kind in kinds for c in backwards if c.info.kind is kind]
        found: dict[str, _Collection] = {}

        def walk(name: str) -> None:
            collection = self._collection(name)
            if collection.info.kind is not CollectionKind.CHAINED:
                found.setdefault(name, collection)
            for child in collection.info.children:
                walk(child)

        for name in names:
            walk(name)
        return list(found.values())

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
        kind = CollectionKind.of(kind)
        if children and kind is not CollectionKind.CHAINED:
            raise CollectionError(f"collection {name!r}: only a CHAINED one has children, not a {kind.name}")
        known = self._collections.get(name)
        if known is None:
            self._check_name(name)
            self._check_children(name, children)
            self._collections[name] = _Collection(CollectionInfo(name, kind, doc, tuple(children)))
        elif known.info.kind is not kind or not exist_ok:
            raise CollectionError(f"collection {name!r} is there already, as {known.info.kind.name}")
        elif children and tuple(children) != known.info.children:
            raise CollectionError(
                f"chain {name!r} is there already, of other collections; change it with set_chain"
            )

    def _check_children(self, name: str, children: Sequence[str]) -> None:
        if len(set(children)) != len(children):
            raise CollectionError(f"chain {name!r} names a collection twice: {', '.join(children)}")

        def walk(child: str) -> None:
            if child == name:
                raise CollectionError(f"chain {name!r} would hold itself")
            for below in self._collection(child).info.children:
                walk(below)

        for child in children:
            walk(child)

    def set_chain(self, name: str, children: Sequence[str]) -> None:
        """Replace the children of a chain."""
        chain = self._collection(name, CollectionKind.CHAINED)
        self._check_children(name, children)
        chain.info = attrs.evolve(chain.info, children=tuple(children))

    def collection_infos(self) -> list[CollectionInfo]:
        """Return all collections, oldest first."""
        return [c.info for c in self._collections.values()]

    def remove_collection(self, name: str) -> None:
        """Remove a collection; of a RUN, its datasets too."""
        collection = self._collection(name)
        chains = [c.info.name for c in self._collections.values() if name in c.info.children]
        if chains:
            raise CollectionError(
                f"collection {name!r} is in {', '.join(chains)}; take it out of there first"
            )
        del self._collections[name]
        if collection.info.kind is CollectionKind.RUN:
            self._forget({id(stored) for stored in collection.datasets.values()})

    def tag(self, collection: str, datasets: Iterable[Dataset], *, run: str) -> None:
        """Put datasets of a run in a TAGGED collection; they replace others of equal data ID."""
        into = self._collection(collection, CollectionKind.TAGGED)
        into.datasets |= self._in_run(run, datasets)

    def certify(
        self, collection: str, datasets: Iterable[Dataset], begin: Any, end: Any, *, run: str
    ) -> None:
        """Put calibrations of a run in a CALIBRATION collection for a range of time."""
        into = self._collection(collection, CollectionKind.CALIBRATION)
        first = _ALWAYS[0] if begin is None else tai_ns(begin)
        last = _ALWAYS[1] if end is None else tai_ns(end)
        if first >= last:
            raise CollectionError(f"a range of time must end after it begins; this is from {begin} to {end}")
        wanted = self._in_run(run, datasets)
        for handle in wanted:
            for d in into.dated:
                if d.stored.record.dataset == handle and d.begin < last and d.end > first:
                    raise CollectionError(
                        f"collection {collection!r}: {handle} of run {run!r} cannot be valid "
                        f"{range_in_words(first, last)}: {d.stored.record.location} is valid "
                        f"{range_in_words(d.begin, d.end)}, which overlaps; certify it for what is left, or "
                        "into another collection"
                    )
        into.dated += [Dated(stored, first, last) for stored in wanted.values()]

    # -- provenance of runs -------------------------------------------------------------------

    def set_run_provenance(self, run: str, provenance: Mapping[str, Any]) -> None:
        """Record, as JSON, what made a run."""
        try:
            text = json.dumps(provenance)
        except (TypeError, ValueError) as error:
            raise RepositoryError(f"the provenance of run {run!r} cannot be kept as JSON: {error}") from None
        self._run(run).provenance = text

    def run_provenance(self, run: str) -> dict[str, Any]:
        """Return what `set_run_provenance` recorded, or an empty dict."""
        found: dict[str, Any] = json.loads(self._collection(run, CollectionKind.RUN).provenance or "{}")
        return found

    # -- in bulk ------------------------------------------------------------------------------

    def reader(self, *, collections: Sequence[str] | None = None, where: Condition | None = None) -> Reader:
        """Return a reader in columns, narrowed to what `where` admits."""
        searched = self._search(self.collections if collections is None else collections)
        return MemoryReader(
            self._contents.copy(),
            [dict(c.datasets) for c in searched],
            [list(c.dated) for c in searched if c.info.kind is CollectionKind.CALIBRATION],
            where,
            {c.info.name: dict(c.datasets) for c in searched if c.info.kind is CollectionKind.RUN},
        )

    def location_for(self, dataset: Dataset, run: str) -> str:
        """Return where the template puts a dataset of a run."""
        dataId: DataId = self._data_ids.complete(type(dataset), dataset.dataId)
        return self._files.location_for(type(dataset), dataId, run)
