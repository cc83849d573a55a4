"""The reader's port: what a repository holds, in columns, from one moment of it."""

from __future__ import annotations

import abc
from collections.abc import Collection
from typing import TYPE_CHECKING, Self

from supertask.datasets import Dataset

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from supertask.rows import DatasetRows, MadeRows, RelationRows, UnitRows, ValidityRows

__all__ = ["Reader"]


class Reader(abc.ABC):
    """One consistent look at a repository in columns, for preflight and large queries.

    A *selection* narrows it: conjuncts of a condition, each applied to every row that determines
    all the units it speaks of, and for some units the IDs that are admitted. A row whose value for
    such a unit is null passes. Rows come in no promised order.
    """

    @abc.abstractmethod
    def units(self, unit: str, fields: Collection[str] | None = None) -> UnitRows:
        """Return the selected instances of a unit, with these of its fields (all unless given)."""

    @abc.abstractmethod
    def datasets(self, dataset_type: type[Dataset]) -> DatasetRows:
        """Return the selected datasets of a type in the collections searched, first found first.

        A type that the repository does not know has none.
        """

    @abc.abstractmethod
    def made(self, dataset_type: type[Dataset]) -> MadeRows:
        """Return the selected datasets of a type in every RUN searched, of equal data IDs too."""

    @abc.abstractmethod
    def calibrations(self, dataset_type: type[Dataset]) -> list[ValidityRows]:
        """Return, for each CALIBRATION collection searched and in its order, what is valid when."""

    @abc.abstractmethod
    def relation(self, name: str) -> RelationRows:
        """Return the selected rows of a relation."""

    @abc.abstractmethod
    def restrict(self, unit: str, ids: npt.NDArray[np.int64]) -> None:
        """Admit from now on only these row IDs of a unit (and rows where it is null)."""

    def count(self, unit: str) -> int:
        """Return about how many instances of a unit are selected, and no fewer."""
        return len(self.units(unit, ()).ids)

    def close(self) -> None:  # noqa: B027 - not every reader holds something
        """Let go of what the reader holds in the repository; it is not used after."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
