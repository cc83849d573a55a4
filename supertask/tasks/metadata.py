"""What a task says about one call of it: numbers and words, collected outside of the task.

A task's state is not changed by running it. What it notes goes to the collection that is open in the
calling context, so that threads and workers that share a task do not mix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

from supertask.errors import SuperTaskError

__all__ = ["Metadata", "MetadataError", "collect_metadata", "current_metadata"]

Scalar = bool | int | float | str | None


class MetadataError(SuperTaskError):
    """Something is no metadata: it is not a scalar, a list of scalars, or a mapping of such."""


class Metadata(MutableMapping[str, Any]):
    """Nested names with scalars (None, bool, int, float, str) or lists of scalars.

    Examples
    --------
    >>> metadata = Metadata()
    >>> metadata["n_stars"] = 12
    >>> metadata.child("fit")["chi2"] = 1.5
    >>> metadata.to_dict()
    {'n_stars': 12, 'fit': {'chi2': 1.5}}
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = {}
        for name, value in (values or {}).items():
            self[name] = value

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if not name:
            raise MetadataError("a name in metadata must not be empty")
        if isinstance(value, Mapping):
            self._values[name] = Metadata(value)
        elif isinstance(value, list | tuple):
            self._values[name] = [_scalar(name, v) for v in value]
        else:
            self._values[name] = _scalar(name, value)

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Metadata({self.to_dict()!r})"

    def child(self, name: str) -> Metadata:
        """Return the metadata nested under a name, new if there is none."""
        found = self._values.get(name)
        if not isinstance(found, Metadata):
            found = self._values[name] = Metadata()
        return found

    def add(self, name: str, value: Scalar) -> None:
        """Append to the list under a name; a single value that is there becomes its first element."""
        there = self._values.get(name, [])
        old = there if isinstance(there, list) else [there]
        self[name] = [*old, value]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data, fit for JSON."""
        return {k: v.to_dict() if isinstance(v, Metadata) else v for k, v in self._values.items()}


def _scalar(name: str, value: Any) -> Scalar:
    if value is None or isinstance(value, bool | int | float | str):
        # Of subclasses (numpy.float64, enums of str) only the value is kept.
        return value if value is None or type(value) in (bool, int, float, str) else _plain(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return _scalar(name, value.item())
    raise MetadataError(
        f"{name!r} in metadata must be a bool, int, float, str, None, a list or a mapping of them, "
        f"got {value!r} ({type(value).__name__})"
    )


def _plain(value: Any) -> Scalar:
    kind = next(k for k in (bool, int, float, str) if isinstance(value, k))
    return kind(value)


_open: ContextVar[Metadata | None] = ContextVar("supertask_metadata", default=None)


def current_metadata() -> Metadata:
    """Return the collection that is open here; where none is, one that lives as long as the context."""
    found = _open.get()
    if found is None:
        found = Metadata()
        _open.set(found)
    return found


def collect_metadata() -> AbstractContextManager[Metadata]:
    """Collect what tasks note within the block.

    Returns
    -------
    AbstractContextManager
        Gives task name → what it noted; subtasks are nested in their parents.
    """
    return _Collecting()


class _Collecting:
    """A block of which the metadata is collected; entered once for every quantum, so not a generator."""

    __slots__ = ("_token",)

    def __enter__(self) -> Metadata:
        collected = Metadata()
        self._token = _open.set(collected)
        return collected

    def __exit__(self, *_: object) -> None:
        _open.reset(self._token)
