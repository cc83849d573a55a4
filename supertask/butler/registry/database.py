"""Transactions on a registry's database, and errors that say what happened."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from supertask.butler.registry.backend import Backend
from supertask.errors import RepositoryError

__all__ = ["Database"]

_PATIENCE = 180.0
"""Seconds for which a writer waits for its turn, over and above what the database waits by itself."""


class Database:
    """A database and how to talk to it.

    Parameters
    ----------
    backend : Backend
        The kind of database.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._abandoned: list[sa.Engine] = []
        self._open()

    def _open(self) -> None:
        self._engine = self.backend.make_engine()
        self._pid = os.getpid()
        self._finalizer = weakref.finalize(self, _dispose, self._engine, self._pid)

    @property
    def _here(self) -> sa.Engine:
        if self._pid != os.getpid():
            # Connections do not survive a fork. They are kept, not closed: closing them here would
            # take the parent's locks away.
            self._finalizer.detach()
            self._abandoned.append(self._engine)
            self._open()
        return self._engine

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection on which everything read is of one moment."""
        with self.errors("read"), self._begin(writing=False) as connection:
            yield connection

    @contextmanager
    def write(self, what: str) -> Iterator[sa.Connection]:
        """Give a connection for writing; what is done on it takes effect whole or not at all.

        Raises
        ------
        RepositoryError
            The repository is read-only, or the write failed; says which and why.
        """
        if not self.backend.writeable:
            raise RepositoryError(
                f"{what} is not possible: {self.backend.where} is read-only ({self.backend.why_not})"
            )
        with self.errors("written"):
            connection = self._begin(writing=True)
            try:
                yield connection
                connection.commit()
            finally:
                # Rolls back what was not committed.
                connection.close()

    def _begin(self, *, writing: bool) -> sa.Connection:
        deadline = time.monotonic() + _PATIENCE
        pause = 0.005
        lost = 0
        while True:
            connection = self._here.connect().execution_options(writing=writing)
            try:
                connection.begin()
            except sa.exc.DBAPIError as error:
                connection.close()
                if error.connection_invalidated and not lost:
                    # It had been lying in the pool while the server was started anew: there are fresh ones.
                    lost += 1
                    continue
                if not self.backend.is_busy(error) or time.monotonic() > deadline:
                    raise
            else:
                return connection
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def connect(self) -> sa.Connection:
        """Return a connection for reading that the caller closes; what it reads is of one moment."""
        with self.errors("opened"):
            return self._begin(writing=False)

    @contextmanager
    def errors(self, verb: str = "read") -> Iterator[None]:
        """Say errors of the database in our words."""
        try:
            yield
        except sa.exc.IntegrityError as error:
            # Where writers are alone nothing can change between looking and writing.
            raise RepositoryError(
                f"{self.backend.where} cannot be {verb}: another client changed or removed meanwhile what "
                f"this is about; look again, and do it again ({' '.join(str(error.orig).split())})"
            ) from error
        except sa.exc.DBAPIError as error:
            raise RepositoryError(
                f"{self.backend.where} cannot be {verb}: {self.backend.explain(error)}"
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self._finalizer()


def _dispose(engine: sa.Engine, pid: int) -> None:
    if pid == os.getpid():
        engine.dispose()
