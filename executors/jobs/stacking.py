"""Packs many bundles one after another: in sheaves, or each in its folder where that is carried elsewhere.

Bundles are put on a stack, which is written as one sheaf when it is high enough, or when its jobs are to be
submitted. Their names are known before. Nobody can run them until then, so one that is killed meanwhile
leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from executors.decisions.work import Work
from executors.jobs.packing import Packer, elsewhere
from executors.jobs.sheafwriting import PlanColumns, write_sheaf
from executors.jobs.slots import FOLDER
from supertask.datasets import Dataset
from supertask.repograph.columns import expand

__all__ = ["Stack"]

_BUNDLES = 1000
_QUANTA = 50_000
"""So many in a sheaf at most: a job reads where the parts of all begin."""


@attrs.frozen
class _Stacked:
    name: str
    work: Work
    said: dict[str, Any]
    elsewhere: Sequence[int]


class Stack:
    """Bundles of one run that are packed.

    Parameters
    ----------
    packer : Packer
        Knows what is said of them.
    home : Path
        Where the folders of their jobs are, or will be.
    session : str
        In the names of jobs; no other session has it. Hexadecimal.
    """

    def __init__(self, packer: Packer, home: Path, session: str) -> None:
        self._packer = packer
        self._home = home
        self._session = session
        self._count = 0
        self._sheaves = 0
        self._quanta = 0
        self._stacked: list[_Stacked] = []
        self._columns = PlanColumns(packer.plan)

    def add(
        self,
        work: Work,
        *,
        numbers: Mapping[int, int],
        missing: Mapping[int, frozenset[bytes]],
        memory: Mapping[int, int],
        waits: Mapping[int, Sequence[int]] | None = None,
        after: Mapping[str, Sequence[int]] | None = None,
    ) -> Path:
        """Pack a bundle, now or with the next `flush`; return the folder of its job, which may not be there.

        Parameters
        ----------
        work, numbers, missing, memory
            As for `Packer.pack`.
        waits : Mapping, optional
            Quantum → those outside that it depends on, where these have not ended.
        after : Mapping, optional
            Name of a job of this run → which of these it runs.

        Raises
        ------
        ExecutionError
            It cannot be written.
        """
        which = f"b{work.bundle}" if work.bundle >= 0 else f"n{work.quanta[0]}"
        if self._packer.staged:
            self._count += 1
            folder = self._home / f"{which}-{self._session}-{self._count}"
            self._packer.pack(work, folder, numbers=numbers, missing=missing, memory=memory)
            return folder
        if len(self._stacked) >= _BUNDLES or self._quanta >= _QUANTA:
            self.flush()
        name = f"{which}-{self._session}-{self._sheaves}-{len(self._stacked)}"
        said = {
            "bundle": work.bundle,
            "quanta": work.quanta,
            "told": [work.absent, work.lost, work.behind],
            "waits": waits or {},
            "after": after or {},
            "numbers": numbers,
            "missing": {q: [m.hex() for m in left] for q, left in missing.items()},
            "memory": memory,
            "around": self._packer.around(work, self._home / name, numbers),
        }
        before = [p for ps in after.values() for p in ps] if after else ()
        told = work.absent or work.lost or work.behind or before
        others = sorted(elsewhere(work, before)) if told else ()
        self._stacked.append(_Stacked(name, work, said, others))
        self._quanta += len(work.quanta) + len(others)
        return self._home / name

    def flush(self) -> None:
        """See to it that all that was added is packed; to be called before it is submitted.

        Raises
        ------
        ExecutionError
            It cannot be written.
        """
        stacked, self._stacked = self._stacked, []
        if not stacked:
            return
        packer, plan = self._packer, self._packer.plan
        sizes = [[len(each.work.quanta), len(each.elsewhere)] for each in stacked]
        quanta = np.fromiter(
            (q for each in stacked for part in (each.work.quanta, each.elsewhere) for q in part),
            np.int64, sum(map(sum, sizes)),
        )  # fmt: skip
        outside = np.repeat(np.tile([False, True], len(stacked)), np.ravel(sizes))
        bundles = np.repeat(np.arange(len(stacked)), np.sum(sizes, axis=1))
        layout, groups, columns = self._columns.add(quanta, bundles, outside, len(stacked))
        last = int(self._columns.tasks_of(quanta.max()))
        names = {side["type"] for group in layout for part in ("inputs", "outputs") for side in group[part]}
        types: list[type[Dataset]] = [t for t in plan.datasets if t.name in names]
        successors = self._successors(quanta[~outside], bundles[~outside], len(stacked))
        own = [
            {
                **each.said,
                "groups": groups[i],
                "successors": successors[i],
                "readings": packer.readings([*each.work.quanta, *each.elsewhere], last),
            }
            for i, each in enumerate(stacked)
        ]
        shared = {
            **packer.shared(types, last),
            "layout": layout,
            "names": [each.name for each in stacked],
            "files": {},
        }
        sheaf = self._home / FOLDER / f"{self._session}-{self._sheaves}.sheaf"
        write_sheaf(sheaf, shared, own, columns)
        self._sheaves += 1
        self._quanta = 0

    def _successors(self, quanta: Any, bundles: Any, n: int) -> list[dict[int, list[int]]]:
        """Return for each bundle who in it waits for whom in it."""
        found: list[dict[int, list[int]]] = [{} for _ in range(n)]
        indptr, indices = self._packer.plan.successors()
        home = np.full(len(indptr) - 1, -1, np.int32)
        home[quanta] = bundles
        counts = indptr[quanta + 1] - indptr[quanta]
        after = indices[expand(indptr[quanta], counts)]
        owners = np.repeat(np.arange(len(quanta)), counts)
        inside = home[after] == bundles[owners]
        for at, q in zip(owners[inside].tolist(), after[inside].tolist(), strict=True):
            found[bundles[at]].setdefault(int(quanta[at]), []).append(q)
        return found
