"""Footprints of many detectors in columns, and where a repository keeps them.

A repository has them as segments, one file for each ingest, in ``sky/footprints``: adding is writing
one more file, which two ingests can do at once, and reading is reading them all. A segment may say
that it *replaces* what was said of its data IDs before, as a better WCS does; otherwise one data ID
may have several outlines (the exposures of a visit), and covers what any of them covers.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import attrs
import numpy as np
import numpy.typing as npt

from supertask.sky.footprint import FootprintError
from supertask.sky.sphere import vectors

__all__ = ["FOLDER", "FootprintStore", "Footprints"]

FOLDER = "sky/footprints"
"""Folder of the segments under a repository's root."""

_FORMAT = 1


@attrs.frozen(eq=False)
class Footprints:
    """Outlines on the sky of many detectors, each with its data ID."""

    keys: Mapping[str, npt.NDArray[Any]]
    """Unit → key of each outline, shape (n,), int64 or str; the units of a complete data ID."""
    radec: npt.NDArray[np.float64]
    """Positions of all outlines, one after the other, shape (m, 2), degrees ICRS."""
    indptr: npt.NDArray[np.int64]
    """Shape (n + 1,): outline i is ``radec[indptr[i]:indptr[i + 1]]``."""

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @classmethod
    def from_outlines(cls, units: Sequence[str], rows: Iterable[tuple[Mapping[str, Any], Any]]) -> Footprints:
        """Make them of data IDs and outlines.

        Parameters
        ----------
        units : sequence of str
            Units of a complete data ID, parents included.
        rows : iterable of (Mapping, array_like)
            Data ID, and positions: shape (k, 2), or ra and dec in turn.

        Raises
        ------
        FootprintError
            An outline has fewer than three different positions, or one that is not finite.
        """
        taken = [(dataId, np.asarray(outline, float).reshape(-1, 2)) for dataId, outline in rows]
        for dataId, outline in taken:
            shown = ", ".join(f"{u}={dataId[u]}" for u in units)
            if not np.isfinite(outline).all() or (np.abs(outline[:, 1]) > 90).any():
                raise FootprintError(
                    f"the footprint of {shown} has a position that is none: {outline.tolist()}"
                )
            if len(np.unique(outline, axis=0)) < 3:
                raise FootprintError(f"the footprint of {shown} has fewer than three different corners")
        lengths = [len(outline) for _, outline in taken]
        return cls(
            {u: _key_column([dataId[u] for dataId, _ in taken]) for u in units},
            np.concatenate([outline for _, outline in taken]) if taken else np.empty((0, 2)),
            np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        )

    def take(self, which: npt.NDArray[Any]) -> Footprints:
        """Return some of them: indices or a mask."""
        index = np.flatnonzero(which) if which.dtype == bool else which
        lengths = np.diff(self.indptr)[index]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        positions = np.repeat(self.indptr[:-1][index] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Footprints({u: k[index] for u, k in self.keys.items()}, self.radec[positions], indptr)

    @classmethod
    def concatenate(cls, parts: Sequence[Footprints]) -> Footprints:
        """Return all of several, which must be of the same units."""
        shift = np.cumsum([0, *(len(p.radec) for p in parts)])
        return cls(
            {u: np.concatenate([p.keys[u] for p in parts]) for u in parts[0].keys},
            np.concatenate([p.radec for p in parts]),
            np.concatenate(
                [np.zeros(1, np.int64), *(p.indptr[1:] + s for p, s in zip(parts, shift, strict=False))]
            ),
        )

    @property
    def vectors(self) -> npt.NDArray[np.float64]:
        """Positions as unit vectors, shape (m, 3)."""
        return vectors(self.radec[:, 0], self.radec[:, 1])


def _key_column(keys: Sequence[Any]) -> npt.NDArray[Any]:
    return np.array(keys, dtype=np.int64 if all(isinstance(k, int) for k in keys) else np.str_)


class FootprintStore:
    """The segments of one repository.

    Parameters
    ----------
    root : path
        The repository's root.
    """

    def __init__(self, root: str | Path) -> None:
        self.folder = Path(root) / FOLDER

    def add(self, footprints: Footprints, *, replace: bool = False) -> None:
        """Keep some, durably.

        Parameters
        ----------
        footprints : Footprints
            What to keep.
        replace : bool, optional
            Whether they take the place of all outlines that their data IDs have so far.
        """
        if not len(footprints):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.blake2b(footprints.radec.tobytes(), digest_size=6).hexdigest()
        name = f"{time.time_ns():020d}-{os.getpid()}-{digest}.npz"
        temporary = self.folder / f".tmp-{name}"
        columns: dict[str, Any] = {f"key_{u}": k for u, k in footprints.keys.items()}
        with temporary.open("wb") as file:
            np.savez(
                file,
                format=np.int64(_FORMAT),
                replace=np.bool_(replace),
                units=np.array(list(footprints.keys)),
                radec=footprints.radec,
                indptr=footprints.indptr,
                **columns,
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / name)

    def read(self, units: Sequence[str]) -> Footprints:
        """Return all outlines for data IDs of these units, each once.

        Raises
        ------
        FootprintError
            A segment cannot be read.
        """
        kept: list[Footprints] = []
        for path in sorted(self.folder.glob("*.npz")) if self.folder.is_dir() else ():
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as segment:
                    if int(segment["format"]) != _FORMAT:
                        raise FootprintError(f"{path} is of another version of this software")
                    if set(segment["units"].tolist()) != set(units):
                        continue
                    part = Footprints(
                        {u: segment[f"key_{u}"] for u in units}, segment["radec"], segment["indptr"]
                    )
                    if bool(segment["replace"]):
                        theirs = set(_rows(part))
                        kept = [k.take(np.array([r not in theirs for r in _rows(k)], bool)) for k in kept]
            except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
                raise FootprintError(f"the footprints in {path} cannot be read: {error}") from error
            kept.append(part)
        if not kept:
            return Footprints.from_outlines(units, [])
        return _each_once(Footprints.concatenate(kept))


def _rows(footprints: Footprints) -> list[tuple[Any, ...]]:
    return list(zip(*(k.tolist() for k in footprints.keys.values()), strict=True))


def _each_once(footprints: Footprints) -> Footprints:
    """Leave out outlines that are there already: an ingest that was stopped and run again says them twice."""
    first: dict[tuple[Any, ...], int] = {}
    for i, row in enumerate(_rows(footprints)):
        outline = footprints.radec[footprints.indptr[i] : footprints.indptr[i + 1]].tobytes()
        first.setdefault((*row, outline), i)
    return footprints.take(np.fromiter(first.values(), np.int64, len(first)))
