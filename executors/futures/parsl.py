"""ParslFramework: bundles as apps of Parsl, on whatever its executors reach."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from executors.batch import Job
from executors.engines import EngineOptions
from executors.futures import errand
from executors.futures.children import cores
from executors.futures.framework import Call, FuturesFramework
from executors.futures.site import ParslSite, made_by
from supertask.errors import ExecutionError

if TYPE_CHECKING:
    from parsl import Config
    from parsl.dataflow.dflow import DataFlowKernel

__all__ = ["ParslFramework"]

_LOSSES = {"WorkerLost", "ManagerLost"}


class ParslFramework(FuturesFramework):
    """Runs bundles as apps of Parsl.

    Parameters
    ----------
    config : Config, callable or DataFlowKernel, optional
        Where: a configuration, which can be used for one run; a function that returns such a one; or what was
        loaded from one. Unless given, workers are started on this machine and end with the run.
    jobs, staged, slots, late, grace, python : optional
        As for `FuturesFramework`.
    processes : int, optional
        How many jobs run at once, where workers are started here; as many as there are cores unless given.

    Notes
    -----
    A quantum whose worker is lost has failed as one that was disturbed from outside (``transient``), and is
    tried again as the policy of its task says. Retries, checkpoints and memoization that the configuration
    may ask for do nothing here: the journal knows what ended.
    """

    engine = "Parsl"

    def __init__(
        self,
        config: Config | Callable[[], Config] | DataFlowKernel | None = None,
        jobs: str | Path | None = None,
        *,
        processes: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(jobs, **options)
        if processes is not None and processes < 1:
            raise ExecutionError(f"Parsl needs 1 process or more, not {processes}")
        self.config = config
        self.processes = processes
        self._kernel: DataFlowKernel | None = None
        self._is_ours = False
        self._logs: set[logging.FileHandler] = set()
        self._used = False

    @classmethod
    def from_options(cls, options: EngineOptions) -> Self:
        """Make one from what a command line says.

        Raises
        ------
        ConfigError
            The site's file is not valid, or what it names cannot be made.
        """
        site = options.site_as(ParslSite)
        config = made_by(site.config) if site.config else None
        return cls(
            config, options.jobs, processes=options.processes, staged=options.staged, slots=options.slots
        )

    @property
    def here(self) -> int:
        """How many jobs run at once on threads of this very process."""
        return (self.processes or cores()) if self.config is None else 0

    def open(self, folder: Path) -> None:
        """Start what the configuration says.

        Raises
        ------
        ExecutionError
            Parsl is not installed, or cannot start.
        """
        try:
            dflow = importlib.import_module("parsl.dataflow.dflow")
        except ImportError as error:
            raise ExecutionError(
                f"Parsl is not installed here ({error}): install it with `pip install 'supertask[parsl]'`"
            ) from None
        if isinstance(self.config, dflow.DataFlowKernel):
            self._kernel = self.config
            self._check_open()
            return
        made: Any = partial(self.local, folder) if self.config is None else self.config
        if self._used and not callable(made):
            raise ExecutionError(
                "executors of Parsl cannot be started a second time: give a function that returns a new "
                "Config, or a DataFlowKernel that stays"
            )
        try:
            self._kernel = dflow.DataFlowKernel(made() if callable(made) else made)
        except Exception as error:
            raise ExecutionError(f"Parsl does not start: {type(error).__name__}: {error}") from error
        self._is_ours = self._used = True
        self._logs = _logs()

    def local(self, folder: Path) -> Config:
        """Return a configuration of this machine alone."""
        parsl = importlib.import_module("parsl")
        threads = importlib.import_module("parsl.executors.threads")
        # A worker does nothing but watch over a process: it need not be one itself, which would take seconds
        # to start, and outlive a driver that is killed.
        executor = threads.ThreadPoolExecutor(label="supertask", max_threads=self.here)
        made: Config = parsl.Config(
            executors=[executor],
            run_dir=str(folder / "parsl"),
            strategy="none",
            initialize_logging=False,
        )
        return made

    def call(self, job: Job, *arguments: str) -> Call:
        """Have a job run."""
        kernel = cast("DataFlowKernel", self._kernel)
        return kernel.submit(
            errand.run, app_args=arguments, executors="all", cache=False, ignore_for_cache=[], app_kwargs={}
        )

    def closed(self) -> str:
        """Return why no more calls are taken."""
        if self._kernel is None:
            return ""
        if self._kernel.cleanup_called:
            return "it was cleaned up"
        bad: list[Any] = [e for e in self._kernel.executors.values() if getattr(e, "bad_state_is_set", False)]
        return "; ".join(f"{e.label}: {e.executor_exception}" for e in bad)

    def is_loss(self, error: BaseException) -> bool:
        """Tell whether a worker was lost."""
        return type(error).__name__ in _LOSSES

    def close(self) -> None:
        """End what was started here."""
        kernel, ours = self._kernel, self._is_ours
        self._kernel, self._is_ours = None, False
        if kernel is not None and ours:
            if not kernel.cleanup_called:
                kernel.cleanup()
            # Parsl takes its log away from loggers, and leaves the file open.
            for handler in self._logs - _logs():
                handler.close()


def _logs() -> set[logging.FileHandler]:
    return {h for h in logging.getLogger("parsl").handlers if isinstance(h, logging.FileHandler)}
