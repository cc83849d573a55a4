"""Path templates: where a dataset's file lies, worked out from its run, type and data ID.

A template is a relative path with words in braces::

    {run}/{type}/{folders}/{type}_{dataId}{ext}       the default
    {run}/raw/{instrument}/{exposure:08d}_{detector}{ext}

``{folders}`` stands for the values of all units but the last as folders, ``{dataId}`` for all values
joined by ``_``, a unit's name for its value (an int may be given a width as in ``{visit:08d}``).
Values are made safe for file names: whatever is not a letter, digit or one of ``._+-=@,`` is written
as ``%`` and hexadecimal digits, which keeps different values different.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping, Sequence
from functools import lru_cache

import attrs

from supertask.dataids import Key
from supertask.errors import Problems, RepositoryError, did_you_mean

__all__ = ["DEFAULT_TEMPLATE", "PathTemplate", "check_run_name"]

DEFAULT_TEMPLATE = "{run}/{type}/{folders}/{type}_{dataId}{ext}"

_SAFE = re.compile(r"[A-Za-z0-9_+=@,-][A-Za-z0-9._+=@,-]*\Z")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@,-]")
_WIDTH = re.compile(r"0?[0-9]{1,3}d?\Z")
_RUN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@:=,-]*(/[A-Za-z0-9_][A-Za-z0-9_.+@:=,-]*)*\Z")
_LONGEST = 200
"""Bytes of one folder or file name; file systems take 255, and temporary names are longer."""
_WORDS = ("run", "type", "folders", "dataId", "ext")


def check_run_name(name: str) -> str | None:
    """Return what is wrong with the name of a collection, or None. A RUN's is a folder, too."""
    if not _RUN.match(name) or len(name) > _LONGEST:
        return (
            "use letters, digits and any of '_.+@:=,-', in parts joined by '/', none of which may begin "
            f"with a '.', in all at most {_LONGEST} characters (as in 'u/me/run1')"
        )
    return None


@lru_cache(maxsize=4096, typed=True)
def _safe(value: Key) -> str:
    text = str(value)
    if _SAFE.match(text):
        return text
    if text.startswith("."):
        # Neither '..' nor a hidden file, which temporary files are.
        return "%2E" + _UNSAFE.sub(_escape, text[1:])
    return _UNSAFE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def _cut(part: str) -> str:
    if len(part) <= _LONGEST:
        return part
    # What is cut off lives on in a hash, so that long names that begin alike stay different.
    mark = hashlib.blake2b(part.encode(), digest_size=8).hexdigest()
    return f"{part[: _LONGEST - 60]}~{mark}{part[-20:]}"


@attrs.frozen
class PathTemplate:
    """A checked template for a dataset type's files."""

    text: str
    _parts: tuple[tuple[str, str, str], ...] = attrs.field(repr=False, eq=False)
    """Literal text, then the word and its width; the last word may be empty."""

    @classmethod
    def parse(cls, text: str, units: Sequence[str] | None = None, *, what: str = "") -> PathTemplate:
        """Check a template.

        Parameters
        ----------
        text : str
            The template.
        units : sequence of str, optional
            Units of the data IDs that it must tell apart, parents included. Unless given, only its
            form is checked.
        what : str, optional
            What it is for, for messages.

        Raises
        ------
        RepositoryError
            Names every mistake found.
        """
        problems = Problems(f"path template {text!r}{f' for {what}' if what else ''}")
        parts: list[tuple[str, str, str]] = []
        try:
            for literal, word, width, conversion in string.Formatter().parse(text):
                parts.append((literal, word or "", width or ""))
                if conversion or (word is not None and not word):
                    problems.add("braces hold one word each, and a width at most, as in {visit:08d}")
                elif width and (word in _WORDS or not _WIDTH.match(width)):
                    problems.add(f"{{{word}:{width}}}: only the values of units take a width, such as 08d")
                elif word and units is not None and word not in _WORDS and word not in units:
                    problems.add(
                        f"{{{word}}} is not known here{did_you_mean(word, (*_WORDS, *units))}; "
                        f"use {', '.join((*_WORDS, *units))}"
                    )
        except ValueError as error:
            problems.add(str(error))
        words = [word for _, word, _ in parts if word]
        literals = "\1".join(literal for literal, _, _ in parts)
        if "run" not in words:
            problems.add("{run} is missing: files of different runs would be one")
        if text.startswith(("/", "~")) or any(p in ("..", ".") for p in text.split("/")):
            problems.add("it must stay within the repository: no leading '/' or '~', and no '..'")
        if any(p.startswith((".", "\1.")) for p in literals.split("/")) or "\\" in text:
            problems.add("no part of it may begin with '.', nor hold a backslash")
        if units is not None and "dataId" not in words:
            missing = [u for u in units if u not in words]
            if missing:
                problems.add(
                    f"it does not name {', '.join(missing)}: different datasets would be one file; "
                    "name them, or use {dataId}"
                )
        problems.raise_if_any(RepositoryError)
        return cls(text, tuple(parts))

    def fill(self, *, run: str, type_name: str, dataId: Mapping[str, Key], extension: str) -> str:
        """Return the path, relative to the repository's root, with ``/`` between folders.

        Parameters
        ----------
        run : str
            RUN collection, checked by `check_run_name`.
        type_name : str
            Name of the dataset type.
        dataId : Mapping
            Complete data ID in the unit model's order.
        extension : str
            Of the storage format, with its dot.
        """
        units = tuple(dataId)
        values = [_safe(dataId[unit]) for unit in units]
        out = []
        for literal, word, width in self._parts:
            out.append(literal)
            if word == "run":
                out.append(run)
            elif word == "type":
                out.append(type_name)
            elif word == "folders":
                out.append("/".join(values[:-1]))
            elif word == "dataId":
                out.append("_".join(values))
            elif word == "ext":
                out.append(extension)
            elif width and isinstance(dataId[word], int):
                out.append(format(dataId[word], width if width.endswith("d") else f"{width}d"))
            elif word:
                out.append(values[units.index(word)])
        # An empty {folders} leaves two slashes, and a type without units a loose '_'.
        path = "/".join([_cut(p) for p in "".join(out).split("/") if p])
        return path.replace(f"_{extension}", extension) if not values else path
