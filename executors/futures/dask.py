"""DaskFramework: bundles as calls on workers of a Dask cluster, one's own or somebody's."""

from __future__ import annotations

import contextlib
import importlib
import logging
import operator
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from executors.batch import Job
from executors.engines import EngineOptions
from executors.futures.children import cores
from executors.futures.framework import Call, FuturesFramework
from executors.futures.site import DaskSite, made_by
from supertask.errors import ExecutionError

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy.cluster import Cluster

__all__ = ["DaskFramework"]

_PATIENCE = 10.0
_FUNCTION = "executors.futures.errand:run"


class DaskFramework(FuturesFramework):
    """Runs bundles on workers of Dask.

    Parameters
    ----------
    cluster : Client, Cluster or str, optional
        Where: a client, a cluster object (dask-jobqueue's, say), or the address of a scheduler. Unless
        given, workers are started on this machine and end with the run.
    jobs, staged, slots, late, grace, python : optional
        As for `FuturesFramework`.
    processes : int, optional
        How many jobs run at once, where workers are started here; as many as there are cores unless given.
    timeout : float, optional
        Seconds in which a scheduler must answer.

    Notes
    -----
    Workers may come and go while the run goes on, so clusters may be adaptive. A quantum whose worker is lost
    has failed as one that was disturbed from outside (``transient``), and is tried again as the policy of its
    task says; Dask's own counts of deaths never come into it.
    """

    engine = "Dask"

    def __init__(
        self,
        cluster: Client | Cluster | str | None = None,
        jobs: str | Path | None = None,
        *,
        processes: int | None = None,
        timeout: float = _PATIENCE,
        **options: Any,
    ) -> None:
        super().__init__(jobs, **options)
        if processes is not None and processes < 1:
            raise ExecutionError(f"Dask needs 1 process or more, not {processes}")
        self.cluster = cluster
        self.processes = processes
        self.timeout = timeout
        self._client: Client | None = None
        self._ours: list[Any] = []
        """What is to be closed, in this order."""

    @classmethod
    def from_options(cls, options: EngineOptions) -> Self:
        """Make one from what a command line says.

        Raises
        ------
        ConfigError
            The site's file is not valid, or what it names cannot be made.
        """
        site = options.site_as(DaskSite)
        return cls(
            made_by(site.cluster) if site.cluster else site.scheduler or None,
            options.jobs,
            processes=options.processes,
            timeout=site.timeout,
            staged=options.staged,
            slots=options.slots,
        )

    @property
    def here(self) -> int:
        """How many jobs run at once on threads of this very process."""
        return (self.processes or cores()) if self.cluster is None else 0

    def open(self, folder: Path) -> None:
        """Reach the scheduler, or start one here.

        Raises
        ------
        ExecutionError
            Dask is not installed, or its scheduler does not answer.
        """
        try:
            distributed = importlib.import_module("distributed")
        except ImportError as error:
            raise ExecutionError(
                f"Dask is not installed here ({error}): install it with `pip install 'supertask[dask]'`"
            ) from None
        where = self.cluster
        if isinstance(where, distributed.Client):
            self._client = where
            self._check_open()
            return
        if where is None:
            where = self._start(distributed)
        try:
            self._client = distributed.Client(where, timeout=self.timeout, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise ExecutionError(
                f"no Dask scheduler answers at {getattr(where, 'scheduler_address', where)}: {error}. Is it "
                "running, and may this host reach it?"
            ) from error
        self._ours.insert(0, self._client)

    def _start(self, distributed: Any) -> Any:
        # A worker does nothing but watch over processes: it need not be one itself, which would run the
        # script that calls this again, and takes far longer to start.
        # Its profiler looks at all threads a hundred times a second. In some versions of Python that can lock
        # up the whole process (CPython's issue 106883), where threads come and go: seen after 6,000 jobs.
        with importlib.import_module("dask.config").set({"distributed.worker.profile.enabled": False}):
            cluster = distributed.LocalCluster(
                n_workers=1,
                threads_per_worker=self.here,
                processes=False,
                memory_limit=None,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            )
        self._ours.append(cluster)
        return cluster

    def call(self, job: Job, *arguments: str) -> Call:
        """Have a job run."""
        client = cast("Client", self._client)
        # A worker that cannot import the function that it is sent dies of it. This way it says so.
        pipe = importlib.import_module("toolz").pipe
        future: Call = client.submit(
            pipe,
            _FUNCTION,
            pkgutil.resolve_name,
            operator.methodcaller("__call__", *arguments),
            key=f"supertask-{job.name}",
            pure=False,
            priority=job.precedence,
        )
        return future

    def withdraw(self, call: Call) -> None:
        """Take a call out of the scheduler's queue."""
        with contextlib.suppress(Exception):  # its scheduler is gone, and the call with it
            cast("Any", call).cancel()

    def closed(self) -> str:
        """Return why the scheduler takes no more calls."""
        if self._client is None or self._client.status == "running":
            return ""
        return f"its scheduler does not answer any more ({self._client.status})"

    def is_loss(self, error: BaseException) -> bool:
        """Tell whether a worker was lost."""
        distributed = importlib.import_module("distributed")
        return isinstance(error, distributed.scheduler.KilledWorker | distributed.CancelledError)

    def close(self) -> None:
        """Leave the cluster, and end what was started here."""
        self._client = None
        while self._ours:
            self._ours.pop(0).close()
