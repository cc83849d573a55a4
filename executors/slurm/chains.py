"""Jobs that wait for each other, as arrays of Slurm with dependencies.

A job with one job before it goes to the same index of another array, which waits index by index
(``aftercorr``): so a chain goes on as far as it can while its neighbours are behind. It begins only where the
one before made anything. A job with several before it waits for their arrays to end, however they do
(``afterany``): it runs what it can of its bundle, and finds out what that is when it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import attrs

from executors.batch import Chained

__all__ = ["Array", "arrays_of"]


@attrs.define(eq=False)
class Array:
    """One array."""

    corresponding: Array | None = None
    """Each job waits for that of the same index of this one."""
    after: tuple[Array, ...] = ()
    """All jobs wait for all of these to end."""
    jobs: dict[int, Chained] = attrs.field(factory=dict)

    def dependencies(self, numbers: Callable[[Array], str]) -> list[str]:
        """Return what sbatch is told, given the numbers of arrays that are submitted."""
        if self.corresponding is not None:
            return [f"--dependency=aftercorr:{numbers(self.corresponding)}"]
        return [f"--dependency=afterany:{':'.join(map(numbers, self.after))}"] if self.after else []


def arrays_of(chained: Sequence[Chained], asked: Callable[[Chained], Hashable], most: int) -> list[Array]:
    """Return arrays for jobs, each after those that it depends on.

    Parameters
    ----------
    chained : sequence of Chained
        The jobs, each after those that it waits for.
    asked : callable
        Returns what must be alike in an array.
    most : int
        How many jobs an array may have, and one more than its greatest index.
    """
    arrays: list[Array] = []
    open_: dict[Hashable, Array] = {}
    home: dict[str, tuple[Array, int]] = {}
    followers: dict[str, int] = {}
    for each in chained:
        wanted = asked(each)
        key: tuple[Hashable, ...]
        if len(each.after) == 1:
            (before,) = each.after
            # Of several that follow one job, each goes to an array of its own.
            turn = followers[before] = followers.get(before, -1) + 1
            first, index = home[before]
            made = Array(first)
            key = (id(first), turn, wanted)
        else:
            made = Array(after=tuple({id(home[b][0]): home[b][0] for b in each.after}.values()))
            key = (frozenset(map(id, made.after)), wanted)
            index = -1
        array = open_.get(key)
        if array is None or (index < 0 and len(array.jobs) >= most):
            array = open_[key] = made
            arrays.append(made)
        index = len(array.jobs) if index < 0 else index
        array.jobs[index] = each
        home[each.job.name] = (array, index)
    return arrays
