"""Objects of arrays as one stretch of bytes, and back without copying: what processes can share.

Arrays, and mappings (of text), lists, tuples and attrs classes of them, with numbers, text and None beside.
The bytes are the length of a header, the header (JSON: how the object is built, and where each array lies),
and the arrays, each at a multiple of 64. Nothing in them is executed when they are read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from supertask.classpath import class_path, load_class
from supertask.errors import ExecutionError

__all__ = ["Layout", "built"]

_LENGTH = struct.Struct("<Q")
_ALIGNED = 64
_PLAIN = (bool, int, float, str, type(None))


class Layout:
    """How an object lies in bytes.

    Parameters
    ----------
    value : object
        The object.
    what : str
        Whose it is, for messages.

    Raises
    ------
    ExecutionError
        There is something in it that cannot be shared.
    """

    def __init__(self, value: Any, what: str) -> None:
        self._what = what
        self._arrays: list[npt.NDArray[Any]] = []
        self._places: list[dict[str, Any]] = []
        tree = self._said(value)
        end = 0
        for array, place in zip(self._arrays, self._places, strict=True):
            place["at"] = end
            end = _aligned(end + array.nbytes)
        said = json.dumps({"tree": tree, "arrays": self._places}).encode()
        self._header = _LENGTH.pack(len(said)) + said
        self._begin = _aligned(len(self._header))
        self.size = self._begin + end
        """Bytes in all."""

    def write(self, buffer: Any) -> None:
        """Write the object into a buffer of `size` bytes."""
        buffer[: len(self._header)] = self._header
        for array, place in zip(self._arrays, self._places, strict=True):
            np.ndarray(array.shape, array.dtype, buffer, self._begin + place["at"])[...] = array

    def _said(self, value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return {"array": self._place(np.asarray(value)), "scalar": isinstance(value, np.generic)}
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            return {"plain": value}
        if isinstance(value, Mapping) and all(type(k) is str for k in value):
            return {"mapping": {k: self._said(v) for k, v in value.items()}}
        if type(value) in (list, tuple):
            return {type(value).__name__: [self._said(v) for v in value]}
        if attrs.has(type(value)) and all(f.init for f in attrs.fields(type(value))):
            fields = {f.alias: self._said(getattr(value, f.name)) for f in attrs.fields(type(value))}
            return {"class": class_path(type(value)), "fields": fields}
        raise ExecutionError(
            f"{self._what} makes a {type(value).__name__} that processes cannot share: they share arrays, "
            "and mappings, lists, tuples and attrs classes of them; return such, or leave away shared=True"
        )

    def _place(self, array: npt.NDArray[Any]) -> int:
        if array.dtype.hasobject:
            raise ExecutionError(
                f"{self._what} makes an array of Python objects, which processes cannot share: "
                "give it a dtype of numbers or of text of fixed length, or leave away shared=True"
            )
        # As it lies in memory, so that what runs along columns goes on to do so.
        turned = array.flags.f_contiguous and not array.flags.c_contiguous
        self._arrays.append(array.T if turned else array)
        dtype = np.lib.format.dtype_to_descr(array.dtype)
        self._places.append({"dtype": dtype, "shape": self._arrays[-1].shape, "turned": turned})
        return len(self._arrays) - 1


def built(buffer: Any) -> Any:
    """Return the object that lies in a buffer; its arrays are views of that, read-only if the buffer is."""
    (length,) = _LENGTH.unpack_from(buffer)
    said = json.loads(bytes(buffer[_LENGTH.size : _LENGTH.size + length]))
    begin = _aligned(_LENGTH.size + length)
    arrays = []
    for place in said["arrays"]:
        dtype = np.lib.format.descr_to_dtype(_descr(place["dtype"]))
        array: npt.NDArray[Any] = np.ndarray(tuple(place["shape"]), dtype, buffer, begin + place["at"])
        arrays.append(array.T if place["turned"] else array)
    return _built(said["tree"], arrays)


def _built(said: dict[str, Any], arrays: list[npt.NDArray[Any]]) -> Any:
    if "array" in said:
        return arrays[said["array"]][()] if said["scalar"] else arrays[said["array"]]
    if "plain" in said:
        return said["plain"]
    if "mapping" in said:
        return {k: _built(v, arrays) for k, v in said["mapping"].items()}
    if "class" in said:
        return load_class(said["class"])(**{k: _built(v, arrays) for k, v in said["fields"].items()})
    (kind, items), *_ = said.items()
    inside = [_built(v, arrays) for v in items]
    return tuple(inside) if kind == "tuple" else inside


def _descr(said: Any) -> Any:
    """Return the description of a dtype as numpy wants it: JSON knows no tuples."""
    if isinstance(said, str):
        return said
    return [
        (tuple(f[0]) if isinstance(f[0], list) else f[0], _descr(f[1]), *(tuple(s) for s in f[2:]))
        for f in said
    ]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
