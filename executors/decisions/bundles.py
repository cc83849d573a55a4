"""Which bundle each quantum is in, and for what each bundle waits: columns that `schedule` works on."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from supertask.errors import ExecutionError

__all__ = ["Bundles", "Bundling"]


class Bundling(Protocol):
    """Quanta of each bundle, one after another; `graphbuilder.dag.values.Bundling` is one."""

    @property
    def indptr(self) -> npt.NDArray[np.int64]:
        """Shape (bundles + 1,): where each begins in `indices`."""

    @property
    def indices(self) -> npt.NDArray[np.int32]:
        """Shape (quanta,): quantum indices, each exactly once."""


class Bundles:
    """Which bundle each quantum is in, and for how much outside of it each bundle waits."""

    def __init__(
        self,
        bundling: Bundling,
        consumers: npt.NDArray[np.int32],
        producers: npt.NDArray[np.int32],
        done: npt.NDArray[np.bool_],
    ) -> None:
        indptr, members = np.asarray(bundling.indptr), np.asarray(bundling.indices)
        n = len(done)
        self.n = len(indptr) - 1
        if len(members) != n or (np.bincount(members, minlength=n) != 1).any():
            raise ExecutionError(
                f"the bundles hold {len(members)} quanta of {n}, or some twice: they are of another plan"
            )
        of = np.empty(n, np.int32)
        of[members] = np.repeat(np.arange(self.n, dtype=np.int32), np.diff(indptr))
        position = np.empty(n, np.int32)
        position[members] = np.arange(n, dtype=np.int32)
        inside = of[producers] == of[consumers]
        if (position[producers] >= position[consumers])[inside].any():
            raise ExecutionError(
                "a bundle holds a quantum before one that it depends on; batch the plan again"
            )
        outer = ~inside & ~done[producers] & ~done[consumers]
        self.waiting = memoryview(np.bincount(of[consumers[outer]], minlength=self.n).astype(np.int32))
        self.of = memoryview(of)
        self.running = [0] * self.n
        """How many quanta of each run."""
        self.done = memoryview(done)
        """What earlier sessions finished; edges to these were never counted."""
        self._indptr, self._members = indptr, members

    def quanta(self, bundle: int) -> list[int]:
        """Return the quanta of a bundle in order."""
        found: list[int] = self._members[self._indptr[bundle] : self._indptr[bundle + 1]].tolist()
        return found
