"""Finding FITS files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["discover", "is_fits_name"]

_SUFFIXES = (".fits", ".fit", ".fts")
_COMPRESSED = (".gz", ".fz")


def is_fits_name(name: str) -> bool:
    """Tell whether a name is one of FITS files: ``.fits``, ``.fit``, ``.fts``, also with ``.gz``, ``.fz``."""
    name = name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith(_SUFFIXES)


def discover(paths: Iterable[str | Path] | str | Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Find the FITS files that some paths mean.

    Parameters
    ----------
    paths : path or iterable of paths
        Files, taken whatever they are called, and folders, searched to any depth for files with a
        name of FITS files. Hidden ones, and links that lead back up, are passed over.

    Returns
    -------
    files : list of str
        Absolute paths, sorted, each once.
    failed : list of (str, str)
        Paths that mean nothing, and why.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    files: set[str] = set()
    failed: list[tuple[str, str]] = []
    for path in (os.fspath(p) for p in given):
        absolute = os.path.abspath(path)
        if not os.path.isdir(absolute):
            files.add(absolute)
            continue
        found = set(_walk(absolute, failed))
        if not found and not any(where.startswith(absolute) for where, _ in failed):
            failed.append((absolute, "there are no FITS files in this folder"))
        files |= found
    return sorted(files), failed


def _walk(top: str, failed: list[tuple[str, str]]) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        failed.append((error.filename or top, f"this folder cannot be read: {error.strerror}"))

    for folder, folders, names in os.walk(top, onerror=note, followlinks=True):
        status = os.stat(folder)
        key = (status.st_dev, status.st_ino)
        if key in seen:
            folders.clear()
            continue
        seen.add(key)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if is_fits_name(folder) and not names and not folders:
            failed.append((folder, "this is an empty folder with the name of a FITS file"))
        for name in names:
            if is_fits_name(name) and not name.startswith("."):
                yield os.path.join(folder, name)
