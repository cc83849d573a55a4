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

from supertask.errors import Problems
from supertask.sky.footprint import FootprintError
from supertask.sky.planes import segments
from supertask.sky.sphere import caps, vectors

__all__ = ["FOLDER", "FootprintStore", "Footprints"]

FOLDER = "sky/footprints"
"""Folder of the segments under a repository's root."""

_FORMAT = 1
_TOLD = 20
_WIDEST = 89.0


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
            An outline is none (see `sift`); names every one with its data ID.
        """
        made, refused = cls.sift(units, rows)
        problems = Problems("footprints")
        for dataId, reason in refused[:_TOLD]:
            shown = ", ".join(f"{u}={dataId[u]}" for u in units)
            problems.add(f"the footprint of {shown} {reason}")
        if len(refused) > _TOLD:
            problems.add(f"and {len(refused) - _TOLD:,} more")
        problems.raise_if_any(FootprintError)
        return made

    @classmethod
    def sift(
        cls, units: Sequence[str], rows: Iterable[tuple[Mapping[str, Any], Any]]
    ) -> tuple[Footprints, list[tuple[Mapping[str, Any], str]]]:
        """Make them of those outlines that are sound, and say what is wrong with the others.

        An outline is sound that has three different corners, all of them positions on the sky, and
        reaches less than 89 degrees from its middle, beyond which nobody knows its inside.

        Parameters
        ----------
        units, rows
            As for `from_outlines`.

        Returns
        -------
        footprints : Footprints
            The sound ones.
        refused : list of (Mapping, str)
            Data ID and reason of each other, the reason going on after "the footprint of …".
        """
        taken: list[tuple[Mapping[str, Any], npt.NDArray[np.float64]]] = []
        refused: list[tuple[Mapping[str, Any], str]] = []
        for dataId, outline in rows:
            try:
                taken.append((dataId, np.asarray(outline, float).reshape(-1, 2)))
            except (TypeError, ValueError):
                refused.append((dataId, "is no list of positions, ra and dec in turn"))
        lengths = np.array([len(outline) for _, outline in taken], np.int64)
        made = cls(
            {u: _key_column([dataId[u] for dataId, _ in taken]) for u in units},
            np.concatenate([np.empty((0, 2)), *(outline for _, outline in taken)]),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        )
        reasons = made.unsound()
        if not reasons:
            return made, refused
        refused += [(taken[i][0], reason) for i, reason in reasons.items()]
        sound = np.ones(len(made), bool)
        sound[list(reasons)] = False
        return made.take(sound), refused

    def unsound(self) -> dict[int, str]:
        """Return which outlines are not sound, as `sift` understands it, and why."""
        lengths = np.diff(self.indptr)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        ra, dec = self.radec[:, 0], self.radec[:, 1]
        with np.errstate(invalid="ignore"):
            off = ~np.isfinite(self.radec).all(axis=1) | (np.abs(dec) > 90.0) | (ra < -360.0) | (ra > 720.0)
        reasons: dict[int, str] = {}
        for i in np.flatnonzero(off).tolist():
            a, d = self.radec[i].tolist()
            reasons.setdefault(int(owner[i]), f"has a position that is none: ra {a:g}, dec {d:g}")
        few = "has fewer than three different corners"
        reasons = {i: few for i in np.flatnonzero(lengths < 3).tolist() if i not in reasons} | reasons
        rest = np.setdiff1d(np.arange(len(lengths)), list(reasons))
        if not len(rest):
            return reasons
        at, indptr = segments(self.indptr, rest)
        points = vectors(ra[at], dec[at])
        # As vectors: at a pole all right ascensions are one position.
        named = np.concatenate([owner[at][:, None], points.round(13)], axis=1)
        different = np.bincount(np.unique(named, axis=0)[:, 0].astype(np.int64), minlength=len(lengths))
        reasons |= dict.fromkeys(rest[different[rest] < 3].tolist(), few)
        wide = np.rad2deg(caps(points, indptr)[1])
        for i, reach in zip(rest.tolist(), wide.tolist(), strict=True):
            if reach > _WIDEST and i not in reasons:
                reasons[i] = (
                    f"reaches {reach:.0f} degrees from its middle, so that it is not known what is inside: "
                    "give it in parts"
                )
        return dict(sorted(reasons.items()))

    def take(self, which: npt.NDArray[Any]) -> Footprints:
        """Return some of them: indices or a mask."""
        index = np.flatnonzero(which) if which.dtype == bool else which
        positions, indptr = segments(self.indptr, index)
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
