"""What the bytes of a dataset are: checksums, and the identity of data that no task made.

The identity of a dataset that was ingested or put by hand is a hash of its type's name, its data ID
and its bytes, so that equal content has equal identity wherever it lies. (That of a task's output
follows from its quantum and is worked out at preflight.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from supertask.dataids import Key

__all__ = ["checksum_bytes", "checksum_file", "content_identity"]

_PREFIX = "blake2b:"
_VERSION = b"supertask content 1"
_CHUNK = 1 << 20


def checksum_bytes(data: bytes) -> str:
    """Return the checksum of some bytes: ``blake2b:`` and 32 hexadecimal digits."""
    return _PREFIX + hashlib.blake2b(data, digest_size=16).hexdigest()


def checksum_file(path: str | Path) -> str:
    """Return the checksum of a file's bytes, as `checksum_bytes` of them all.

    Raises
    ------
    OSError
        It cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return _PREFIX + digest.hexdigest()


def content_identity(name: str, dataId: Mapping[str, Key], checksum: str) -> bytes:
    """Return the identity, 16 bytes, of a dataset that no task made.

    Parameters
    ----------
    name : str
        Name of its type.
    dataId : Mapping
        Its complete data ID, in any order.
    checksum : str
        Of its file.
    """
    # Length-prefixed and typed, so that no two different things are spelt alike.
    digest = hashlib.blake2b(_VERSION, digest_size=16)
    parts = [name, checksum]
    for unit in sorted(dataId):
        value = dataId[unit]
        parts += (unit, f"i{value}" if isinstance(value, int) else f"s{value}")
    for part in parts:
        data = part.encode()
        digest.update(b"%d:%b" % (len(data), data))
    return digest.digest()
