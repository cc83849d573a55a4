"""Which bundles are out, and which of their quanta have not come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from executors.decisions.work import Work

__all__ = ["OpenBundles"]


class OpenBundles:
    """Knows when a bundle that was handed out has ended."""

    def __init__(self) -> None:
        self._left: dict[int, set[int]] = {}
        self._of: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, work: Work) -> None:
        """Take note of one that is handed out."""
        self._left[work.bundle] = set(work.quanta)
        self._of.update(dict.fromkeys(work.quanta, work.bundle))

    def leave(self, quanta: Iterable[int]) -> Iterator[int]:
        """Take note that quanta ended or were given back; give the bundles of which that was the last."""
        for q in quanta:
            bundle = self._of.pop(q, None)
            if bundle is not None:
                left = self._left[bundle]
                left.discard(q)
                if not left:
                    del self._left[bundle]
                    yield bundle

    def settle(self, quantum: int, runs: Callable[[int], bool]) -> Iterator[int]:
        """Do so for those of a quantum's bundle that do not run any more."""
        bundle = self._of.get(quantum)
        if bundle is not None:
            yield from self.leave([q for q in self._left[bundle] if q == quantum or not runs(q)])
