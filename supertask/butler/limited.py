"""LimitedButler: what a task sees while one quantum runs.

It has the quantum's datasets and nothing else, and needs no database: where files lie was worked out
before. So a task cannot read what its quantum did not declare (which would be missing from its
identity and provenance), and a worker needs only the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supertask.butler.content import content_identity
from supertask.butler.datastore import Datastore
from supertask.butler.handles import DataIds
from supertask.butler.port import DatasetSource
from supertask.datasets import Dataset
from supertask.errors import DatasetExistsError, DatasetNotFoundError, RepositoryError, StorageError
from supertask.filerecords import FileRecord
from supertask.units import UnitModel

__all__ = ["LimitedButler"]

_SHOWN = 5


class LimitedButler(DatasetSource):
    """Reads the inputs of one quantum and writes its outputs.

    Parameters
    ----------
    datastore : Datastore
        The repository's files.
    model : UnitModel
        The repository's units.
    inputs, outputs : Mapping
        Dataset → location. Data IDs are complete.
    identities : Mapping, optional
        Dataset → identity of outputs; that of their content where it is not given.
    label : str, optional
        Label of the task, for messages.

    Notes
    -----
    An output's file that is there already is what an attempt left that was interrupted or has
    failed; it is replaced, whole. Putting one output twice in one attempt is refused. Who registers
    outputs calls `Datastore.sync` before.
    """

    def __init__(
        self,
        datastore: Datastore,
        model: UnitModel,
        inputs: Mapping[Dataset, str],
        outputs: Mapping[Dataset, str],
        *,
        identities: Mapping[Dataset, bytes] | None = None,
        label: str = "",
    ) -> None:
        self._datastore = datastore
        self.model = model
        self._data_ids = DataIds(model)
        self._inputs = inputs
        self._outputs = outputs
        self._identities = identities or {}
        self._label = label
        self._written: dict[Dataset, FileRecord] = {}
        self.reads: set[Dataset] = set()
        """Inputs that were really read."""

    @property
    def records(self) -> list[FileRecord]:
        """Outputs written so far, in order."""
        return list(self._written.values())

    def _handle(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None,
        units: Mapping[str, Any],
    ) -> Dataset:
        if (
            isinstance(dataset, Dataset)
            and not dataId
            and not units
            and (dataset in self._inputs or dataset in self._outputs)
        ):
            return dataset
        known = {type(d).name: type(d) for d in (*self._inputs, *self._outputs)}
        return self._data_ids.handle(dataset, dataId, units, known)

    @property
    def _task(self) -> str:
        return f"task {self._label!r}" if self._label else "this quantum's task"

    @staticmethod
    def _list(datasets: Mapping[Dataset, str]) -> str:
        shown = [repr(d) for d in list(datasets)[:_SHOWN]]
        return (
            ", ".join(shown) + (f" and {len(datasets) - _SHOWN} more" if len(datasets) > _SHOWN else "")
            or "none"
        )

    def get(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        *,
        parameters: Mapping[str, Any] | None = None,
        **units: Any,
    ) -> Any:
        """Read an input of the quantum, or an output that it has written; see `DatasetSource.get`.

        Raises
        ------
        DatasetNotFoundError
            It is not among them, or has not been made.
        StorageError
            The file cannot be read.
        """
        handle = self._handle(dataset, dataId, units)
        location = self._inputs.get(handle)
        if location is None:
            record = self._written.get(handle)
            if record is None:
                raise DatasetNotFoundError(self._refusal(handle))
            location = record.location
        else:
            self.reads.add(handle)
        try:
            return self._datastore.read(type(handle), location, parameters, what=handle)
        except StorageError:
            if self._datastore.exists(location):
                raise
            raise DatasetNotFoundError(
                f"{self._task} cannot read {handle}: there is no file {self._datastore.path(location)}; "
                "the task that makes it has not, or it was removed"
            ) from None

    def _refusal(self, handle: Dataset) -> str:
        if handle in self._outputs:
            return f"{self._task} cannot read its output {handle} before it has put it"
        return (
            f"{self._task} may not read {handle}: it is not among the inputs of this quantum, which are "
            f"{self._list(self._inputs)}"
        )

    def put(
        self,
        value: Any,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        **units: Any,
    ) -> Dataset:
        """Write an output of the quantum, once and whole; see `DatasetSource.put`.

        Raises
        ------
        RepositoryError
            It is not among the quantum's outputs.
        DatasetExistsError
            It was put already.
        StorageError
            It cannot be written; nothing is left behind.
        """
        handle = self._handle(dataset, dataId, units)
        location = self._outputs.get(handle)
        if location is None:
            raise RepositoryError(
                f"{self._task} may not write {handle}: it is not among the outputs of this quantum, which "
                f"are {self._list(self._outputs)}"
            )
        if handle in self._written:
            raise DatasetExistsError(f"{self._task} has put {handle} already, and an output is written once")
        written = self._datastore.write(value, type(handle), location, what=handle)
        try:
            written.publish(durable=False)
        finally:
            written.drop()
        identity = self._identities.get(handle)
        if identity is None:
            identity = content_identity(handle.name, handle.dataId, written.checksum)
        self._written[handle] = FileRecord(handle, location, written.size, written.checksum, identity)
        return handle

    def makes(
        self, dataset: Dataset | type[Dataset] | str, dataId: Mapping[str, Any] | None = None, /, **units: Any
    ) -> bool:
        """Tell whether something is among the quantum's outputs."""
        return self._handle(dataset, dataId, units) in self._outputs

    def exists(
        self, dataset: Dataset | type[Dataset] | str, dataId: Mapping[str, Any] | None = None, /, **units: Any
    ) -> bool:
        """Tell whether an input is there, or an output has been written."""
        handle = self._handle(dataset, dataId, units)
        if handle in self._written:
            return True
        location = self._inputs.get(handle)
        return location is not None and self._datastore.exists(location)
