"""Registers outputs in the repository, many at a time, after disk and journal have them for good.

A dataset becomes visible to others only here. Running takes no notice of it: quanta find each other's
outputs by where the plan says that they lie, and go on while the disk is waited for.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from executors.journal.journal import Journal
from executors.keeping.deletion import Deleter
from executors.keeping.retention import Doomed
from executors.outcome import Attempt
from supertask.butler.datastore import Datastore
from supertask.butler.port import AbstractButler
from supertask.errors import DataIdError, DatasetExistsError, DatasetTypeError

__all__ = ["Collector"]

_log = logging.getLogger(__name__)
_OF_ONE = (DataIdError, DatasetExistsError, DatasetTypeError)
"""Errors that lie in one dataset; others (a locked registry) would meet each of them alike."""


class Collector:
    """Registers outputs in batches.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    datastore : Datastore
        Its files.
    run : str
        The RUN collection.
    journal : Journal
        Where it is noted what is registered.
    sync : callable
        Sees to it that the journal of every process outlives the machine: what the registry knows, the
        journal knows.
    registered : callable, optional
        Called with the number of datasets of each batch.
    deleter : Deleter, optional
        Deletes, with each batch, what is needed no more.
    quanta, seconds : optional
        A batch is registered when so many quanta wait, or so long after the last.
    """

    def __init__(
        self,
        butler: AbstractButler,
        datastore: Datastore,
        run: str,
        journal: Journal,
        sync: Callable[[], None],
        *,
        registered: Callable[[int], None] = lambda _: None,
        deleter: Deleter | None = None,
        quanta: int = 1000,
        seconds: float = 2.0,
    ) -> None:
        self._butler = butler
        self._datastore = datastore
        self._run = run
        self._journal = journal
        self._sync = sync
        self._told = registered
        self._deleter = deleter
        self._most = quanta
        self._seconds = seconds
        self._waiting: list[Attempt] = []
        self._batch: _Batch | None = None
        """What the disk is waited for."""
        self._plain: list[tuple[int, bytes]] = []
        self._due = time.monotonic() + seconds
        self.n_added = 0
        """Quanta with outputs that were added so far."""
        self.n_safe = 0
        """How many of these, in this order, have outputs that outlive the machine."""
        self.n_registered = 0
        """Datasets registered so far."""
        self.problems: list[str] = []

    def add_plain(self, quanta: Iterable[tuple[int, bytes]]) -> None:
        """Let quanta (index, identity) be noted that wrote nothing, in their first attempts."""
        self._plain.extend(quanta)

    def __len__(self) -> int:
        return len(self._waiting) + (len(self._batch.attempts) if self._batch is not None else 0)

    def add(self, attempt: Attempt) -> None:
        """Let the outputs of a quantum that succeeded be registered with the next batch."""
        self._waiting.append(attempt)
        self.n_added += 1

    @property
    def due(self) -> bool:
        """Whether it is time for a batch."""
        n = len(self._waiting) + len(self._plain)
        return n >= self._most or (bool(n) and time.monotonic() >= self._due)

    def pulse(self) -> None:
        """Let the disk see to a batch if it is time for one, and register one that it has seen to.

        Raises
        ------
        ExecutionError, StorageError
            As `flush`.
        """
        if self._batch is None:
            if self.due:
                self._begin()
        elif not self._batch.is_alive():
            self._end_batch(last=False)

    def flush(self, *, last: bool = False) -> None:
        """Register what waits. What cannot be now is tried again with the next batch.

        Parameters
        ----------
        last : bool, optional
            Whether there is no next time: then what stands in the way of others is found and left out, and
            said in `problems`.

        Raises
        ------
        ExecutionError
            The journal cannot be written.
        StorageError
            The disk does not take the outputs.
        """
        if self._batch is not None:
            self._end_batch(last=False)
        self._begin()
        self._end_batch(last=last)

    def _begin(self) -> None:
        # What goes with this batch goes for the sake of quanta in it or before it: those are safe by then.
        doomed = self._deleter.due() if self._deleter is not None else []
        self._batch = _Batch(self._datastore, self._waiting, self._plain, doomed, self.n_added)
        self._waiting, self._plain = [], []
        self._batch.start()

    def _end_batch(self, *, last: bool) -> None:
        assert self._batch is not None  # noqa: S101 - callers see to it
        batch, self._batch = self._batch, None
        attempts = batch.result()
        self.n_safe = batch.n_added
        self._due = time.monotonic() + self._seconds
        self._sync()
        if self._deleter is not None:
            attempts = self._deleter.take(batch.doomed, attempts)
        if batch.plain:
            self._note(batch.plain, {})
        if attempts:
            self._register_waiting(attempts, last=last)
        if self._deleter is not None:
            left = self._deleter.delete()
            if left and last:
                self.problems.append(left)

    def _register_waiting(self, waiting: list[Attempt], *, last: bool) -> None:
        error = self._register(waiting)
        if error is None:
            return
        if not last:
            _log.warning("outputs cannot be registered now and wait for the next batch: %s", error)
            self._waiting = [*waiting, *self._waiting]
            self._due = time.monotonic() + 5 * self._seconds
        else:
            self._register_apart(waiting, error)

    def _register(self, attempts: list[Attempt]) -> Exception | None:
        """Register the outputs of some quanta, all or none; return what stands in the way."""
        records = [record for a in attempts for record in a.records]
        if records:
            try:
                new = self._butler.register(self._run, records, skip_existing=True)
            except Exception as error:  # noqa: BLE001 - whatever a repository raises, the work is not lost
                return error
            self.n_registered += new
            self._told(new)
        again = {str(a.index): a.number for a in attempts if a.number != 1}
        self._note([(a.index, a.identity) for a in attempts], again)
        return None

    def _note(self, quanta: Sequence[tuple[int, bytes]], again: Mapping[str, int]) -> None:
        note = {
            "event": "registered",
            "quanta": [identity.hex() for _, identity in quanta],
            "indices": [index for index, _ in quanta],
            **({"attempts": again} if again else {}),
        }
        self._journal.write(json.dumps(note, separators=(",", ":")))

    def _register_apart(self, attempts: list[Attempt], error: Exception) -> None:
        """Register half by half, so that what cannot be registered stands in nobody's way."""
        if len(attempts) == 1 or not isinstance(error, _OF_ONE):
            self._waiting += attempts
            first = attempts[0]
            which = f"of {first.label} {first.dataId or ''}".rstrip() if len(attempts) == 1 else "waiting"
            self.problems.append(
                f"outputs {which} ({len(attempts)} quanta) are whole but could not be registered: {error}; "
                "run the same again to try again"
            )
            return
        middle = len(attempts) // 2
        for half in (attempts[:middle], attempts[middle:]):
            stands = self._register(half)
            if stands is not None:
                self._register_apart(half, stands)


class _Batch(threading.Thread):
    """Sees to it that the outputs of some quanta outlive the machine, while others run."""

    def __init__(
        self,
        datastore: Datastore,
        attempts: list[Attempt],
        plain: list[tuple[int, bytes]],
        doomed: list[Doomed],
        n_added: int,
    ) -> None:
        super().__init__(name="supertask-sync", daemon=True)
        self.n_added = n_added
        self.attempts = attempts
        self.plain = plain
        self.doomed = doomed
        self._datastore = datastore
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._datastore.sync(r.location for a in self.attempts for r in a.records)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error

    def result(self) -> list[Attempt]:
        """Wait for it; return the quanta."""
        self.join()
        if self._error is not None:
            raise self._error
        return self.attempts
