"""Dataset types as classes, datasets as light handles.

A subclass of `Dataset` is a dataset type: a name, the units that label it, and the storage format
of its files. An instance is a handle: the type and a data ID, never data, and no pointer to what
made it (edges live in the Science DAG alone).
"""

from __future__ import annotations

import copyreg
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

from supertask.dataids import DataId, Key
from supertask.errors import DatasetTypeError

__all__ = ["Dataset", "DatasetType"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*\Z")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _checked(name: Any, units: Any, storage: Any) -> tuple[str, ...]:
    """Return the units as a tuple, or refuse what cannot describe a dataset type."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise DatasetTypeError(
            f"{name!r} is no name for a dataset type: use letters, digits, '_', '-' and '.', "
            "and begin with a letter or '_'"
        )
    if not isinstance(storage, str) or not storage:
        raise DatasetTypeError(
            f"dataset type {name!r} has no storage format: set storage, for example 'fits_image'"
        )
    given = (units,) if isinstance(units, str) else units
    named = tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(u, str) for u in named) or len(set(named)) != len(named):
        raise DatasetTypeError(f"dataset type {name!r}: units must be distinct unit names, got {units!r}")
    return named


class DatasetType(type):
    """Metaclass of dataset types: two classes that say the same are equal and hash alike."""

    name: str
    units: tuple[str, ...]
    storage: str
    doc: str

    _value: tuple[str, frozenset[str], str]
    _hash: int

    def __new__(mcs, clsname: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> DatasetType:
        """Make a dataset type of a class body, checked."""
        namespace.setdefault("__slots__", ())
        cls = super().__new__(mcs, clsname, bases, namespace)
        if bases:
            cls.name = namespace.get("name", _snake(clsname))
            cls.units = _checked(cls.name, cls.units, cls.storage)
            cls.doc = namespace.get("doc", "")
        cls._value = (cls.name, frozenset(cls.units), cls.storage)
        cls._hash = hash(cls._value)
        return cls

    def __eq__(cls, other: object) -> bool:
        return cls is other or (isinstance(other, DatasetType) and cls._value == other._value)

    def __hash__(cls) -> int:
        return cls._hash

    def __repr__(cls) -> str:
        return f"<dataset type {cls.name!r} ({', '.join(cls.units)}) as {cls.storage}>"


class Dataset(metaclass=DatasetType):
    """Handle of one dataset: its type is the class, its data ID the value.

    Parameters
    ----------
    dataId : Mapping, optional
        Unit names and their values.
    **units
        Further ones, by keyword.

    Examples
    --------
    >>> class Raw(Dataset):
    ...     units = ("exposure", "detector")
    ...     storage = "fits_image"
    >>> Raw(instrument="Cam", exposure=1, detector=2) == Raw(detector=2, exposure=1, instrument="Cam")
    True
    """

    __slots__ = ("_row", "dataId")

    name: ClassVar[str] = ""
    """Name of the dataset type in the repository; the class name in snake case unless given."""
    units: ClassVar[tuple[str, ...]] = ()
    """Units that label it; their parents need not be named."""
    storage: ClassVar[str] = ""
    """Name of the storage format, see `supertask.formats`."""
    doc: ClassVar[str] = ""
    """One line for people."""

    dataId: DataId

    def __init__(self, dataId: Mapping[str, Key] | None = None, /, **units: Key) -> None:
        if type(self) is Dataset:
            raise DatasetTypeError("Dataset itself is no dataset type: use a subclass of it")
        if not units and isinstance(dataId, DataId):
            self.dataId = dataId
        else:
            self.dataId = DataId(dataId, **units)
        position = self.dataId._shape.position
        for unit in self.units:
            if unit not in position:
                missing = ", ".join(u for u in self.units if u not in position)
                raise DatasetTypeError(
                    f"a {self.name!r} needs {', '.join(self.units)}; {missing} missing in {self.dataId}"
                )
        self._row = -1

    @classmethod
    def from_row(cls, dataId: DataId, row: int) -> Dataset:
        """Make a handle that remembers its row in a RepoGraph's table, unchecked."""
        new = cls.__new__(cls)
        new.dataId = dataId
        new._row = row
        return new

    @classmethod
    def subclass(cls, name: str, units: Iterable[str] | str, storage: str, doc: str = "") -> type[Dataset]:
        """Return the dataset type that these words describe.

        Parameters
        ----------
        name : str
            Its name in the repository.
        units : iterable of str
            Units that label it.
        storage : str
            Storage format.
        doc : str, optional
            One line for people.

        Raises
        ------
        DatasetTypeError
            The name, units or storage are not usable.
        """
        body = {"name": name, "units": units, "storage": storage, "doc": doc}
        return cast("type[Dataset]", DatasetType(str(name), (Dataset,), body))

    def __getitem__(self, unit: str) -> Key:
        return self.dataId[unit]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Dataset):
            return NotImplemented
        return self.dataId == other.dataId and type(self)._value == type(other)._value

    def __hash__(self) -> int:
        # The data ID's own hash, without the detour: sets of handles are made by the million.
        return hash(self.dataId._values)

    def __lt__(self, other: Dataset) -> bool:
        return (self.name, self.dataId) < (other.name, other.dataId)

    def __repr__(self) -> str:
        return f"{self.name}{self.dataId}"

    def __reduce__(self) -> Any:
        return (_remake, (type(self).name, type(self).units, type(self).storage, dict(self.dataId)))


def _remake(name: str, units: tuple[str, ...], storage: str, dataId: dict[str, Key]) -> Dataset:
    return _remake_type(name, units, storage)(dataId)


def _remake_type(name: str, units: tuple[str, ...], storage: str, doc: str = "") -> type[Dataset]:
    return Dataset.subclass(name, units, storage, doc)


def _reduce_type(cls: DatasetType) -> Any:
    if cls is Dataset:
        return "Dataset"
    return (_remake_type, (cls.name, cls.units, cls.storage, cls.doc))


# Types made by `subclass` have no module to be found in, so processes exchange them by value.
copyreg.pickle(DatasetType, _reduce_type)
