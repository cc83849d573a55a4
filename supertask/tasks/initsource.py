"""What a task may read while it is constructed: schemas and configurations of earlier tasks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NoReturn

from supertask.butler.port import DatasetSource
from supertask.datasets import Dataset
from supertask.errors import DatasetNotFoundError, RepositoryError

__all__ = ["InitSource"]


class InitSource(DatasetSource):
    """Init outputs and configurations as tasks are constructed, and behind them a Butler.

    Parameters
    ----------
    butler : DatasetSource, optional
        Where to look for what no task of the pipeline has made.
    """

    def __init__(self, butler: DatasetSource | None = None) -> None:
        self._butler = butler
        self.model = None if butler is None else butler.model
        self._recorded: dict[str, Any] = {}

    def record(self, dataset_type: type[Dataset], value: Any) -> None:
        """Make the value of a dataset type known to tasks constructed later."""
        self._recorded[dataset_type.name] = value

    def get(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        *,
        parameters: Mapping[str, Any] | None = None,
        **units: Any,
    ) -> Any:
        """Read an init dataset; see `DatasetSource.get`."""
        name = _name(dataset)
        if name in self._recorded:
            return copy.deepcopy(self._recorded[name])
        if self._butler is not None:
            return self._butler.get(dataset, dataId, parameters=parameters, **units)
        known = ", ".join(sorted(self._recorded)) or "nothing"
        raise DatasetNotFoundError(
            f"there is no {name!r} while tasks are constructed: earlier tasks have recorded {known}"
        )

    def put(
        self,
        value: Any,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        **units: Any,
    ) -> NoReturn:
        """Refuse: construction writes nothing, `getDatasetSchemas` returns what is to be written."""
        raise RepositoryError(
            f"{_name(dataset)!r} cannot be put while tasks are constructed: return it from getDatasetSchemas"
        )

    def exists(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None = None,
        /,
        **units: Any,
    ) -> bool:
        """Tell whether an init dataset can be read."""
        if _name(dataset) in self._recorded:
            return True
        return self._butler is not None and self._butler.exists(dataset, dataId, **units)


def _name(dataset: Dataset | type[Dataset] | str) -> str:
    return dataset if isinstance(dataset, str) else dataset.name
