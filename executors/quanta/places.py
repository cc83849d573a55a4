"""Where the datasets of a quantum lie: worked out for each when it is asked for, since many never are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from supertask.datasets import Dataset

__all__ = ["Places"]


class Places(Mapping[Dataset, str]):
    """Location of each dataset of one side of a quantum.

    Parameters
    ----------
    datasets : Mapping
        Dataset type → datasets.
    known : Mapping
        Locations that are known.
    find : callable
        Returns where another lies, or will.
    """

    __slots__ = ("_datasets", "_find", "_known")

    def __init__(
        self,
        datasets: Mapping[type[Dataset], AbstractSet[Dataset]],
        known: Mapping[Dataset, str],
        find: Callable[[Dataset], str],
    ) -> None:
        self._datasets = datasets
        self._known = known
        self._find = find

    def __getitem__(self, dataset: Dataset) -> str:
        if dataset not in self:
            raise KeyError(dataset)
        return self._known.get(dataset) or self._find(dataset)

    def __contains__(self, dataset: object) -> bool:
        return isinstance(dataset, Dataset) and dataset in self._datasets.get(type(dataset), ())

    def __iter__(self) -> Iterator[Dataset]:
        for datasets in self._datasets.values():
            yield from datasets

    def __len__(self) -> int:
        return sum(map(len, self._datasets.values()))
