"""From what a caller may write to a dataset type and a complete data ID.

``butler.get(Raw(exposure=1, …))``, ``butler.get(Raw, exposure=1, …)`` and ``butler.get("raw", {…})``
mean the same; every Butler takes them apart here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supertask.dataids import DataId
from supertask.datasets import Dataset, DatasetType
from supertask.errors import DatasetTypeError, did_you_mean
from supertask.units import KeyKind, UnitModel

__all__ = ["DataIds", "type_by_name"]


def type_by_name(name: str, known: Mapping[str, type[Dataset]]) -> type[Dataset]:
    """Return a dataset type by its name.

    Raises
    ------
    DatasetTypeError
        It is not known.
    """
    try:
        return known[name]
    except KeyError:
        raise DatasetTypeError(
            f"the repository knows no dataset type {name!r}{did_you_mean(name, known)}; "
            f"it knows {', '.join(sorted(known)) or 'none'}"
        ) from None


class DataIds:
    """Completes data IDs by a unit model; quick where they are complete already."""

    def __init__(self, model: UnitModel) -> None:
        self.model = model
        self._closures: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[type, ...] | None]] = {}

    def closure(self, units: tuple[str, ...]) -> tuple[str, ...]:
        """Return what a complete data ID for `units` names, as `UnitModel.closure`."""
        return self._shape(units)[0]

    def _shape(self, units: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[type, ...] | None]:
        shape = self._closures.get(units)
        if shape is None:
            closure = self.model.closure(units)
            kinds = [self.model.unit(u).key for u in closure]
            # A date must be read to be known as one, so it has no quick way.
            types = (
                None
                if KeyKind.DATE in kinds
                else tuple(int if kind is KeyKind.INT else str for kind in kinds)
            )
            shape = self._closures[units] = (closure, types)
        return shape

    def complete(self, dataset_type: type[Dataset], values: Mapping[str, Any]) -> DataId:
        """Return the complete, typed data ID of a dataset, in the model's order.

        Raises
        ------
        DataIdError
            Names every key that is missing, unknown or of the wrong type.
        """
        closure, types = self._shape(dataset_type.units)
        if types is not None and type(values) is DataId and tuple(values) == closure:
            for unit, wanted in zip(closure, types, strict=True):
                value = values[unit]
                if type(value) is not wanted or (wanted is str and (not value or "\0" in value)):  # type: ignore[operator]
                    break
            else:
                return values
        return self.model.standardize(dataset_type.units, values, what=f"dataset type {dataset_type.name!r}")

    def handle(
        self,
        dataset: Dataset | type[Dataset] | str,
        dataId: Mapping[str, Any] | None,
        units: Mapping[str, Any],
        known: Mapping[str, type[Dataset]],
    ) -> Dataset:
        """Return the handle that the arguments of `get`, `put` and their like describe.

        Raises
        ------
        DatasetTypeError
            The type is not known by that name.
        DataIdError
            The data ID is not one of the type's.
        """
        if isinstance(dataset, Dataset):
            if not dataId and not units:
                complete = self.complete(type(dataset), dataset.dataId)
                return dataset if complete is dataset.dataId else type(dataset)(complete)
            values: Mapping[str, Any] = {**dataset.dataId, **(dataId or {}), **units}
            dataset_type: type[Dataset] = type(dataset)
        elif isinstance(dataset, DatasetType):
            dataset_type = dataset
            values = {**(dataId or {}), **units}
        elif isinstance(dataset, str):
            dataset_type = type_by_name(dataset, known)
            values = {**(dataId or {}), **units}
        else:
            raise DatasetTypeError(
                f"{dataset!r} is no dataset: give a Dataset, or a dataset type or its name with a data ID"
            )
        return dataset_type(self.complete(dataset_type, values))
