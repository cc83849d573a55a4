"""What is known of one stored dataset: all that a process which runs quanta needs of a registry's rows."""

from __future__ import annotations

import attrs

from supertask.datasets import Dataset

__all__ = ["FileRecord"]


@attrs.frozen
class FileRecord:
    """What is known of one stored dataset; what a worker reports and the registry keeps."""

    dataset: Dataset
    location: str
    """Relative to the repository's root, or absolute (a path or ``file:`` URI)."""
    size: int
    """Bytes."""
    checksum: str
    """``blake2b:`` and 32 hexadecimal digits, of the file's bytes; empty where not computed."""
    identity: bytes
    """16 bytes."""
