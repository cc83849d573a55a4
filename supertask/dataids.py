"""Data IDs: which visit, which detector, as light values that hash and compare at C speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

__all__ = ["DataId", "Key"]

_Getter = Callable[[tuple[Any, ...]], tuple[Any, ...]]

Key = int | str
"""Type of a unit's key. Dates are ISO strings (``"2026-01-05"``), which astropy's Time reads."""


class _Shape:
    """The names of a data ID: sorted for comparing, as first written for showing."""

    __slots__ = ("_parts", "names", "order", "position", "shown")

    def __init__(self, shown: tuple[str, ...]) -> None:
        self.shown = shown
        self.names = tuple(sorted(shown))
        self.position = {name: i for i, name in enumerate(self.names)}
        self.order = tuple(self.position[name] for name in shown)
        self._parts: dict[tuple[str, ...], tuple[_Shape, _Getter]] = {}

    def part(self, units: tuple[str, ...]) -> tuple[_Shape, _Getter]:
        """Return the shape of some of the names, and what takes their values from a tuple of ours."""
        found = self._parts.get(units)
        if found is None:
            shape = _shape(units)
            found = self._parts[units] = (shape, _getter([self.position[name] for name in shape.names]))
        return found


def _getter(places: list[int]) -> _Getter:
    if len(places) > 1:
        return itemgetter(*places)
    # With one index itemgetter gives the value itself; a slice gives a tuple.
    return itemgetter(slice(places[0], places[0] + 1)) if places else itemgetter(slice(0))


@lru_cache(maxsize=4096)
def _shape(shown: tuple[str, ...]) -> _Shape:
    return _Shape(shown)


class DataId(Mapping[str, Key]):
    """An immutable mapping from unit names to key values, equal and hashable by value.

    Parameters
    ----------
    values : Mapping, optional
        Unit names and their values.
    **more
        Further ones, by keyword.

    Notes
    -----
    The order in which units are given is kept for showing and means nothing else.

    Examples
    --------
    >>> DataId(instrument="Cam", visit=42)["visit"]
    42
    """

    __slots__ = ("_shape", "_values")

    _shape: _Shape
    _values: tuple[Key, ...]

    def __init__(self, values: Mapping[str, Key] | None = None, /, **more: Key) -> None:
        given = {**values, **more} if values else more
        shape = _shape(tuple(given))
        self._shape = shape
        self._values = tuple([given[name] for name in shape.names])

    @staticmethod
    def shape(shown: tuple[str, ...]) -> _Shape:
        """Return the shared shape for these names, to hand to `from_sorted`."""
        return _shape(shown)

    @classmethod
    def from_sorted(cls, shape: _Shape, values: tuple[Key, ...]) -> DataId:
        """Make one from values in the order of the shape's sorted names, unchecked."""
        new = cls.__new__(cls)
        new._shape = shape
        new._values = values
        return new

    def __getitem__(self, unit: str) -> Key:
        try:
            return self._values[self._shape.position[unit]]
        except KeyError:
            raise KeyError(f"{unit!r} is not in the data ID {self}") from None

    def __contains__(self, unit: object) -> bool:
        return unit in self._shape.position

    def __iter__(self) -> Iterator[str]:
        return iter(self._shape.shown)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(self._values)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DataId):
            return self._values == other._values and self._shape.names == other._shape.names
        if isinstance(other, Mapping):
            return dict(self) == dict(other)
        return NotImplemented

    def __lt__(self, other: DataId) -> bool:
        return self.sort_key() < other.sort_key()

    def sort_key(self) -> tuple[Any, ...]:
        """Return values in shown order, tagged by type so that int and str keys can be sorted."""
        return tuple((isinstance(self._values[i], str), self._values[i]) for i in self._shape.order)

    def __str__(self) -> str:
        return "{" + ", ".join(f"{k}={self[k]}" for k in self) + "}"

    def __repr__(self) -> str:
        return f"DataId({', '.join(f'{k}={self[k]!r}' for k in self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (DataId, (dict(self),))

    def subset(self, units: tuple[str, ...]) -> DataId:
        """Return the part for `units`.

        Raises
        ------
        KeyError
            One of `units` is not here.
        """
        try:
            shape, getter = self._shape.part(tuple(units))
        except KeyError as error:
            raise KeyError(f"{error.args[0]!r} is not in the data ID {self}") from None
        return DataId.from_sorted(shape, getter(self._values))
