"""In which run a dataset is, and whether its file is what was registered."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from executors.lineage.values import FileState
from supertask.butler.datastore import Datastore
from supertask.butler.handles import type_by_name
from supertask.butler.port import AbstractButler, CollectionKind, Reader
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
from supertask.errors import DataIdError, DatasetNotFoundError, StorageError, did_you_mean
from supertask.rows import DatasetRows, FileRecord

__all__ = ["Homes"]

_IDENTITY = re.compile(r"[0-9a-f]{8,32}\Z")


class Homes:
    """Looks datasets up in a repository.

    Parameters
    ----------
    butler : AbstractButler
        The repository, on disk.
    """

    def __init__(self, butler: AbstractButler) -> None:
        self.butler = butler
        self.datastore = Datastore.open(butler.root)

    @cached_property
    def runs(self) -> dict[str, None]:
        """Names of all RUN collections, the newest first."""
        infos = self.butler.collection_infos()
        return {c.name: None for c in reversed(infos) if c.kind is CollectionKind.RUN}

    def run_of(self, dataset: Dataset, identity: bytes, location: str) -> str:
        """Return the run that a dataset is in, or an empty string."""
        parts = location.split("/")
        guesses = ["/".join(parts[:n]) for n in range(1, len(parts))] if Datastore.is_ours(location) else []
        for run in guesses:
            if run in self.runs:
                return run
        for run in self.runs:
            try:
                found = self.butler.locate(dataset, collections=[run])
            except DatasetNotFoundError:
                continue
            if found.identity == identity and (not location or found.location == location):
                return run
        return ""

    def find(self, dataset: Dataset, collections: Sequence[str] | None = None) -> tuple[FileRecord, str]:
        """Return what is registered of a dataset, and its run.

        Raises
        ------
        DatasetNotFoundError
            There is none.
        """
        record = self.butler.locate(dataset, collections=collections)
        return record, self.run_of(dataset, record.identity, record.location)

    def registered(self, dataset: Dataset, run: str) -> FileRecord | None:
        """Return what is registered of a dataset in a run, if it is there."""
        if run not in self.runs:
            return None
        try:
            return self.butler.locate(dataset, collections=[run])
        except DatasetNotFoundError:
            return None

    def types(self, name: str) -> Mapping[str, type[Dataset]]:
        """Return dataset types by name: all, or those at hand if the one named is among them."""
        if isinstance(self.butler, Butler):
            return self.butler.registry.types(name)
        return self.butler.dataset_types()

    def by_name(
        self, name: str, dataId: Mapping[str, Any], collections: Sequence[str] | None = None
    ) -> Dataset:
        """Return the one dataset of a type that has these values of units, some of which may be left out.

        Raises
        ------
        DatasetTypeError
            The type is not known.
        DatasetNotFoundError
            There is none, or there are several; names some that come near.
        """
        dataset_type = type_by_name(name, self.types(name))
        closure = self.butler.model.closure(dataset_type.units)
        if set(dataId) == set(closure):
            return dataset_type(self.butler.model.standardize(dataset_type.units, dataId, what=name))
        unknown = [u for u in dataId if u not in {unit.name for unit in self.butler.model}]
        if unknown:
            raise DataIdError(
                f"{name!r} has no unit {unknown[0]!r}{did_you_mean(unknown[0], closure)}; "
                f"it has {', '.join(closure) or 'none'}"
            )
        found = self.butler.query(dataset_type, collections=collections, **dataId)
        if len(found) == 1:
            return found[0]
        given = " ".join(f"{u}={v}" for u, v in dataId.items())
        if not found:
            others = self.butler.query(dataset_type, collections=collections)
            near = f"; there are {len(others):,} others, such as {others[0]}" if others else ""
            raise DatasetNotFoundError(f"there is no {name} {given}".rstrip() + near)
        missing = ", ".join(u for u in closure if u not in dataId)
        raise DatasetNotFoundError(
            f"there are {len(found):,} {name} {given}".rstrip()
            + f": say which ({missing}), such as {found[0]}"
        )

    def by_location(self, path: str) -> tuple[Dataset, FileRecord, str]:
        """Return the dataset whose file this is; an absolute path, or one relative to the repository.

        Raises
        ------
        DatasetNotFoundError
            No dataset of the repository is in that file.
        """
        whole = os.path.abspath(path)
        inside = os.path.relpath(whole, self.datastore.root)
        ours = not inside.startswith("..")
        wanted = {path, whole, inside} if ours else {path, whole}
        guesses = [r for r in self.runs if inside.startswith(f"{r}/")] if ours else []

        def at_location(rows: DatasetRows) -> Iterator[int]:
            return (i for i, where in enumerate(rows.locations) if where.partition("#")[0] in wanted)

        for run in dict.fromkeys([*guesses, *self.runs]):
            found = self._in_run(run, at_location)
            if found is not None:
                return *found, run
        raise DatasetNotFoundError(f"no dataset of {self.datastore.root} is in the file {path}")

    def by_identity(self, text: str) -> tuple[Dataset, FileRecord, str]:
        """Return the dataset whose identity begins with these hexadecimal digits, eight at least.

        Raises
        ------
        DatasetNotFoundError
            None has it.
        """
        head = np.frombuffer(bytes.fromhex(text[: len(text) // 2 * 2]), np.uint8)

        def of_identity(rows: DatasetRows) -> Iterator[int]:
            near = np.flatnonzero((rows.identities[:, : len(head)] == head).all(axis=1)).tolist()
            return (i for i in near if bytes(rows.identities[i]).hex().startswith(text))

        for run in self.runs:
            found = self._in_run(run, of_identity)
            if found is not None:
                return *found, run
        raise DatasetNotFoundError(f"no dataset has an identity that begins with {text!r}")

    @staticmethod
    def is_identity(text: str) -> bool:
        """Tell whether a word may be (the beginning of) an identity."""
        return bool(_IDENTITY.match(text))

    def _in_run(
        self, run: str, wanted: Callable[[DatasetRows], Iterable[int]]
    ) -> tuple[Dataset, FileRecord] | None:
        """Look through all datasets of a run."""
        with self.butler.reader(collections=[run]) as reader:
            for dataset_type in self.butler.dataset_types().values():
                rows = reader.datasets(dataset_type)
                at = next(iter(wanted(rows)), None)
                if at is not None:
                    ids = {unit: int(column[at]) for unit, column in rows.units.items()}
                    values: dict[str, Any] = {}
                    for unit, row_id in ids.items():
                        self._add_keys(reader, unit, row_id, values)
                    complete = self.butler.model.standardize(dataset_type.units, values)
                    dataset = dataset_type(complete)
                    return dataset, self.butler.locate(dataset, collections=[run])
        return None

    def _add_keys(self, reader: Reader, unit: str, row_id: int, values: dict[str, Any]) -> None:
        """Add the keys of an instance of a unit, and of its parents."""
        rows = reader.units(unit, ())
        at = int(np.flatnonzero(rows.ids == row_id)[0])
        values[unit] = rows.keys[at : at + 1].tolist()[0]
        for parent in self.butler.model.unit(unit).parents:
            self._add_keys(reader, parent, int(rows.links[parent][at]), values)

    def state(self, record: FileRecord, *, check: bool = False) -> FileState:
        """Return what is to be said of a dataset's file.

        Parameters
        ----------
        record : FileRecord
            What was registered.
        check : bool, optional
            Whether to read it and compare checksums.
        """
        try:
            size = os.stat(self.datastore.path(record.location)).st_size
        except OSError:
            return FileState.GONE
        if record.size >= 0 and size != record.size:
            return FileState.ALTERED
        if not check or not record.checksum:
            return FileState.THERE
        try:
            same = self.datastore.checksum(record.location) == record.checksum
        except StorageError:
            return FileState.GONE
        return FileState.VERIFIED if same else FileState.ALTERED
