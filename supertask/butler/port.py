"""The Butler port: what a data repository promises.

Every Butler, whatever it stores data in, passes `supertask.testing.butler.ButlerContract`. In short:

- What is in a RUN collection was written once: a second `put` of the same dataset there is refused,
  and an interrupted one leaves nothing behind.
- A dataset is visible to readers only when its file is complete and registered.
- A search goes through collections in order and the first that has the dataset wins.
- Everything in bulk goes through `reader` and `register`, in columns.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import attrs

from supertask.butler.readerport import Reader
from supertask.datasets import Dataset
from supertask.errors import CollectionError, did_you_mean
from supertask.filerecords import FileRecord
from supertask.units import UnitModel

if TYPE_CHECKING:
    # Loads numpy, which a job does without whose data are no arrays.
    from supertask.conditions import Condition
    from supertask.rows import RelationRows

__all__ = [
    "AbstractButler",
    "CollectionInfo",
    "CollectionKind",
    "DatasetSource",
    "DeferredDataset",
    "Reader",
]


class CollectionKind(enum.Enum):
    """The four kinds of collection."""

    RUN = "run"
    """Written once, by one execution or ingest; owns its datasets."""
    CHAINED = "chained"
    """An ordered search path through other collections."""
    TAGGED = "tagged"
    """Datasets picked from RUNs, at most one for each data ID and type."""
    CALIBRATION = "calibration"
    """Datasets with the times for which they are valid."""

    @classmethod
    def of(cls, kind: object) -> CollectionKind:
        """Return a kind by its name, such as ``"run"``.

        Raises
        ------
        CollectionError
            There is no such kind.
        """
        if isinstance(kind, CollectionKind):
            return kind
        known = {each.value: each for each in cls}
        found = known.get(kind.lower()) if isinstance(kind, str) else None
        if found is None:
            hint = did_you_mean(kind, known) if isinstance(kind, str) else ""
            raise CollectionError(
                f"there is no kind of collection {kind!r}{hint}: kinds are {', '.join(known)}, or "
                f"{', '.join(f'CollectionKind.{each.name}' for each in cls)}"
            )
        return found


@attrs.frozen
class CollectionInfo:
    """What is known of one collection."""

    name: str
    kind: CollectionKind
    doc: str = ""
    children: tuple[str, ...] = ()
    """Of a chain: its collections in search order."""


class DatasetSource(abc.ABC):
    """The part of a Butler that a task sees: get and put, nothing else."""

    model: UnitModel | None = None
    """Units of the data, where they are known: they say whether an input is one dataset or several."""

    @abc.abstractmethod
    def get(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        *,
        parameters: Mapping[str, Any] | None = None,
        **units: Any,
    ) -> Any:
        """Read a dataset.

        Parameters
        ----------
        dataset : Dataset or dataset type or str
            A handle, or a dataset type (or its name) with a data ID.
        dataId : Mapping, optional
            Unit names and key values.
        parameters : Mapping, optional
            For a partial read, as the storage format defines them.
        **units
            Further unit values.

        Returns
        -------
        object
            What the storage format makes of the file.

        Raises
        ------
        DatasetNotFoundError
            There is none; names the collections searched.
        DataIdError
            The data ID is not one of the type's.
        StorageError
            The file cannot be read.
        """

    @abc.abstractmethod
    def put(
        self,
        value: Any,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        **units: Any,
    ) -> Dataset:
        """Write a dataset, once and whole, and register it.

        Returns
        -------
        Dataset
            Its handle.

        Raises
        ------
        DatasetExistsError
            It is there already.
        StorageError
            It cannot be written; nothing is left behind.
        """

    @abc.abstractmethod
    def exists(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        **units: Any,
    ) -> bool:
        """Tell whether a dataset is registered and its file is there."""

    def get_deferred(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        **units: Any,
    ) -> DeferredDataset:
        """Return a handle with a `get` of its own, to read later, in part, or not at all."""
        return DeferredDataset(self, dataset, dataId, units)


class DeferredDataset:
    """A dataset that is read when asked for.

    Parameters
    ----------
    source : DatasetSource
        What to read from.
    dataset, dataId, units
        As for `DatasetSource.get`.
    """

    __slots__ = ("_dataId", "_source", "_units", "dataset")

    def __init__(
        self,
        source: DatasetSource,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None,
        units: Mapping[str, Any],
    ) -> None:
        self._source = source
        self.dataset = dataset
        self._dataId = dataId
        self._units = dict(units)

    def get(self, **parameters: Any) -> Any:
        """Read it; keywords are parameters for a partial read."""
        return self._source.get(self.dataset, self._dataId, parameters=parameters or None, **self._units)


class AbstractButler(DatasetSource):
    """A data repository. See the module's docstring for what it promises.

    Attributes
    ----------
    model : UnitModel
        Units of its data.
    collections : tuple of str
        Default search path; empty means every RUN, newest first, then TAGGED.
    run : str or None
        RUN collection that `put` writes to.
    repository_id : str
        32 hexadecimal digits that this repository alone has, by which a plan knows it again.
    root : str
        Its folder, absolute; empty for one in memory.
    """

    model: UnitModel
    repository_id: str
    root: str
    collections: tuple[str, ...]
    run: str | None

    # -- dataset types ------------------------------------------------------------------------

    @abc.abstractmethod
    def register_type(self, dataset_type: type[Dataset]) -> bool:
        """Make a dataset type known.

        Returns
        -------
        bool
            Whether it was new.

        Raises
        ------
        DatasetTypeError
            One of that name with other units or storage is there; names both.
        """

    @abc.abstractmethod
    def dataset_types(self) -> dict[str, type[Dataset]]:
        """Return all known dataset types by name."""

    # -- datasets -----------------------------------------------------------------------------

    @abc.abstractmethod
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
        """Write a dataset to `run`, or the Butler's own; as `DatasetSource.put`.

        The type is made known if it was not, and so is the run. Units must be known.

        Raises
        ------
        RepositoryError
            No run is given or set, or nothing can be written there.
        """

    @abc.abstractmethod
    def query(
        self,
        dataset_type: type[Dataset] | str,
        *,
        collections: Sequence[str] | None = None,
        where: Condition | None = None,
        **units: Any,
    ) -> list[Dataset]:
        """Return the datasets of a type that match, sorted by data ID.

        Parameters
        ----------
        dataset_type : dataset type or str
            The type.
        collections : sequence of str, optional
            Where to search, in order; the default search path unless given.
        where : Condition, optional
            See `supertask.conditions`; may speak of any unit that the type's data IDs determine.
        **units
            Values that units (also implied ones) must have.
        """

    @abc.abstractmethod
    def locate(self, dataset: Dataset, *, collections: Sequence[str] | None = None) -> FileRecord:
        """Return what is known of a dataset.

        Raises
        ------
        DatasetNotFoundError
            There is none.
        """

    @abc.abstractmethod
    def register(self, run: str, records: Iterable[FileRecord], *, skip_existing: bool = False) -> int:
        """Register datasets whose files are in place already, all or none.

        Units named by the data IDs must be known; types and the run are made known. With
        `skip_existing` those that are registered in the run already are passed over, so that doing it
        twice does no harm.

        Returns
        -------
        int
            How many were new.
        """

    @abc.abstractmethod
    def remove(self, datasets: Iterable[Dataset], *, run: str, skip_missing: bool = False) -> int:
        """Remove datasets of a run: registered rows, tags, validity, and files that are ours.

        Files that were ingested in place are left alone. With `skip_missing` those that the run does not
        have are passed over, so that doing it twice does no harm.

        Returns
        -------
        int
            How many were removed.
        """

    # -- units and relations ------------------------------------------------------------------

    @abc.abstractmethod
    def insert_units(self, unit: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Make instances of a unit known.

        Parameters
        ----------
        unit : str
            The unit.
        rows : iterable of Mapping
            Each with the unit's own key under its name, its parents' keys, optionally implied
            units' keys, and fields. Parents and implied units must be known.

        Returns
        -------
        int
            How many were new. A row that is there already in equal form is passed over; nulls may
            be filled in later.

        Raises
        ------
        DataIdError
            A key or field is missing, unknown, ill-typed, contradicts what is known, or names a
            parent that is not known. All problems at once; nothing is inserted.
        """

    @abc.abstractmethod
    def units(self, unit: str, where: Condition | None = None) -> list[dict[str, Any]]:
        """Return instances of a unit as rows like those of `insert_units`, sorted by key."""

    @abc.abstractmethod
    def insert_relation(self, relation: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Relate units; each row names the keys of both sides. Rows there already are passed over.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        DataIdError
            A key is missing, unknown or ill-typed. All problems at once; nothing is inserted.
        """

    @abc.abstractmethod
    def insert_relation_rows(self, rows: RelationRows) -> int:
        """Relate units by their row IDs, in bulk. Rows there already are passed over.

        Returns
        -------
        int
            How many were new.
        """

    @abc.abstractmethod
    def remove_relation_rows(self, rows: RelationRows) -> int:
        """Take rows out of a relation by their row IDs, in bulk. Rows that are not there are passed over.

        Returns
        -------
        int
            How many were there.
        """

    # -- collections --------------------------------------------------------------------------

    @abc.abstractmethod
    def create_collection(
        self,
        name: str,
        kind: CollectionKind | str,
        *,
        children: Sequence[str] = (),
        doc: str = "",
        exist_ok: bool = True,
    ) -> None:
        """Make a collection, of a kind or one named by a text; making it again in equal kind does no harm.

        Raises
        ------
        CollectionError
            There is no such kind, it exists in another, a child is missing, or a chain would hold itself.
        """

    @abc.abstractmethod
    def set_chain(self, name: str, children: Sequence[str]) -> None:
        """Replace the children of a chain."""

    @abc.abstractmethod
    def collection_infos(self) -> list[CollectionInfo]:
        """Return all collections, oldest first."""

    @abc.abstractmethod
    def remove_collection(self, name: str) -> None:
        """Remove a collection; of a RUN, its datasets and files too."""

    @abc.abstractmethod
    def tag(self, collection: str, datasets: Iterable[Dataset], *, run: str) -> None:
        """Put datasets of a run in a TAGGED collection; they replace others of equal data ID."""

    @abc.abstractmethod
    def certify(
        self, collection: str, datasets: Iterable[Dataset], begin: Any, end: Any, *, run: str
    ) -> None:
        """Put calibrations of a run in a CALIBRATION collection for a range of time.

        Parameters
        ----------
        begin, end : astropy.time.Time or str or int or None
            From (inclusive) and until (exclusive); a str is read in UTC unless it says otherwise,
            an int is TAI nanoseconds since 1970; None is unbounded.

        Raises
        ------
        CollectionError
            The range overlaps one of the same data ID.
        """

    # -- provenance of runs -------------------------------------------------------------------

    @abc.abstractmethod
    def set_run_provenance(self, run: str, provenance: Mapping[str, Any]) -> None:
        """Record, as JSON, what made a run: pipeline, configs, versions, command, expression."""

    @abc.abstractmethod
    def run_provenance(self, run: str) -> dict[str, Any]:
        """Return what `set_run_provenance` recorded, or an empty dict."""

    # -- in bulk ------------------------------------------------------------------------------

    @abc.abstractmethod
    def reader(self, *, collections: Sequence[str] | None = None, where: Condition | None = None) -> Reader:
        """Return a reader in columns, narrowed to what `where` admits."""

    @abc.abstractmethod
    def location_for(self, dataset: Dataset, run: str) -> str:
        """Return where the template puts a dataset of a run, relative to the root."""

    def close(self) -> None:
        """Let go of files and connections; the Butler may not be used after."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
