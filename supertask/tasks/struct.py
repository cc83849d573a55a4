"""Named results of a task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["Struct"]


class Struct:
    """A bag of named results: what `Task.run` returns.

    Parameters
    ----------
    **results
        The results, each an attribute of the struct.

    Examples
    --------
    >>> Struct(mean=2.0, count=3).mean
    2.0
    """

    def __init__(self, **results: Any) -> None:
        self.__dict__.update(results)

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(sorted(self.__dict__)) or "nothing"
        raise AttributeError(f"this Struct has no result {name!r}; it has {known}")

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, Struct) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Struct({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"

    def to_dict(self) -> dict[str, Any]:
        """Return the results by name."""
        return dict(self.__dict__)
