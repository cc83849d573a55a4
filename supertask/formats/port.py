"""The storage format port: what a format promises.

- What `write` wrote, `read` gives back equal: values, dtypes, units, masks, headers.
- Equal values make equal bytes: no dates, no names of machines, no random order.
- A value of the wrong kind is refused before anything is written, saying which kinds are taken.
- A file that is truncated or of another format is refused with `StorageError`, naming it.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from supertask.errors import StorageError, did_you_mean

if TYPE_CHECKING:
    from supertask.formats.differences import Difference, Tolerance

__all__ = ["StorageFormat"]


class StorageFormat(abc.ABC):
    """How values of some kind are kept in a file."""

    name: ClassVar[str]
    """What dataset types call it."""
    extension: ClassVar[str]
    """Of its files, with the dot."""
    parameters: ClassVar[frozenset[str]] = frozenset()
    """Names of the parameters for a partial read."""

    @abc.abstractmethod
    def write(self, value: Any, path: str) -> None:
        """Write a value to a new file.

        Raises
        ------
        StorageError
            The value is not of a kind that the format keeps.
        OSError
            The file cannot be written.
        """

    @abc.abstractmethod
    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read the value of a file, or the part of it that `parameters` describe.

        Raises
        ------
        StorageError
            The file is not of this format, or has no such part.
        OSError
            The file cannot be read.
        """

    def encode(self, value: Any) -> bytes | None:
        """Return the bytes that `write` would write, or None where going through a file is better."""
        return None

    def compare(self, a: Any, b: Any, tolerance: Tolerance | None = None) -> Difference:
        """Return how far two values differ.

        The formats that ship leave this to `compare_values`; one that keeps values of its own kind says here
        how these differ, part by part.
        """
        from supertask.formats.differences import compare_values

        return compare_values(a, b, tolerance)

    def check_parameters(self, parameters: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return `parameters`, or raise a `StorageError` that names those which the format knows."""
        if not parameters:
            return {}
        for name in parameters:
            if name not in self.parameters:
                known = ", ".join(sorted(self.parameters)) or "none"
                raise StorageError(
                    f"storage format {self.name!r} has no parameter {name!r}"
                    f"{did_you_mean(name, self.parameters)}; it has {known}"
                )
        return parameters
