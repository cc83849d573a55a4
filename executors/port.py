"""The ExecutionFramework port: what walks a plan.

A framework promises:

- each quantum runs after all that it depends on, in a process that calls `QuantumRunner`, and at most once
  at a time;
- a quantum that fails, ends its process or is killed fails alone: what depends on it is blocked, everything
  else runs;
- `execute` of the same plan goes on where an earlier one ended, in whichever framework, however it ended:
  nothing finished runs again, nothing is lost;
- SIGINT and SIGTERM end it in order: what runs may finish, nothing new begins; a second one ends it at once;
- everything that happened is in the journal and in the report; the repository knows every output.

Most of this is the `Driver`'s; a framework writes `walk`: it takes work, gets it run somewhere, and says what
became of it.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from executors.driving.driver import Driver, Options
from executors.driving.opening import check_repository
from executors.events import Listener
from executors.journal.index import index_journal
from executors.journal.report import Report
from executors.journal.runfolder import RunFolder
from executors.workplaces.scratch import check_scratch
from executors.workplaces.workplace import WorkplaceSpec
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler

__all__ = ["ExecutionFramework"]


class ExecutionFramework(abc.ABC):
    """Walks plans."""

    def execute(
        self,
        plan: ScienceDag | str | Path,
        butler: AbstractButler,
        *,
        listeners: Iterable[Listener] = (),
        resume: bool = True,
        fail_fast: bool = False,
        max_failures: float | None = None,
        policies: Mapping[str, Mapping[str, Any]] | None = None,
        retry_failed: bool = True,
        bundling: str | None = None,
        retain: Mapping[str, str] | None = None,
        scratch: str | Path | None = None,
        scratch_size: int | None = None,
        overhead_memory: int | None = None,
        tags: Mapping[str, str | int | float | bool] | None = None,
        tokens: Mapping[str, int] | None = None,
        token_folder: str | Path | None = None,
        job_folders: bool = False,
    ) -> Report:
        """Run a plan, or what is left of it.

        Parameters
        ----------
        plan : ScienceDag or path
            The plan or its file.
        butler : AbstractButler
            The repository that it was made from; outputs go to the plan's output run.
        listeners : iterable of callable, optional
            Called with every event, see `executors.events`.
        resume : bool, optional
            Whether to go on with a run that was begun before; if not, such a run is refused.
        fail_fast : bool, optional
            Whether to begin nothing more once a quantum has failed.
        max_failures : int or float, optional
            The same, once so many (int) or such a share of all (float) have failed.
        policies : Mapping, optional
            Task label, or ``*`` for all tasks → what is to be done about failures in another way than the
            plan says: field of the `FailurePolicy` → value, such as
            ``{"isr": {"timeout": 60, "retries.error": 1}}``.
        retry_failed : bool, optional
            Whether what failed before is tried again; else it stays failed, and what it blocks blocked.
        bundling : str, optional
            Name of the plan's bundling to use; the last one made unless given.
        retain : Mapping, optional
            Name of a dataset type, or a pattern such as ``*_image`` → how long such datasets stay: ``keep``
            (for good), ``until-used`` or ``on-failure``; stands over what the pipeline says. See
            `executors.keeping.retention`.
        scratch : path, optional
            Folder on a local disk: quanta read copies of their inputs there, and write outputs there first.
        scratch_size : int, optional
            Bytes that these copies may take for each process; those used longest ago go first.
        overhead_memory : int, optional
            Bytes for models and other overheads that each process keeps from one bundle to the next;
            half of the machine's memory, shared by its processes, unless given.
        tags : Mapping, optional
            Words to find the run and its outputs by, besides those it has; see `tasks.tags`.
        tokens : Mapping, optional
            How many there are of what tasks need tokens of, such as ``{"gpu": 2}``; see `tasks.tokens`.
        token_folder : path, optional
            Folder by which tokens are shared with all runs of this machine that name it; unless given, they
            are this run's own.
        job_folders : bool, optional
            Whether each attempt of a bundle (or quantum in none) gets a folder with its script, parameters,
            status, and what was written to stdout and stderr; see `executors.quanta.jobfolders`.

        Returns
        -------
        Report
            What came of it; its `exit_code` says whether everything succeeded.

        Raises
        ------
        DagFileError
            The file is not a plan, or damaged.
        ExecutionError
            The plan cannot be run here: it is of another repository, another driver works on the run, a task
            cannot be constructed, the journal cannot be written.
        """
        plan_file = None if isinstance(plan, ScienceDag) else Path(plan)
        dag = plan if isinstance(plan, ScienceDag) else ScienceDag.load(plan)
        options = Options(
            resume=resume,
            max_failures=1 if fail_fast else max_failures,
            bundling=bundling,
            retention=retain or {},
            workplace=WorkplaceSpec(
                scratch=check_scratch(scratch) if scratch is not None else "",
                scratch_size=scratch_size,
                overhead_memory=overhead_memory,
            ),
            policies=policies or {},
            retry_failed=retry_failed,
            tags=tags or {},
            tokens=tokens or {},
            token_folder=str(token_folder or ""),
            job_folders=job_folders,
        )
        self.prepare(dag, butler)
        driver = Driver(
            dag,
            butler,
            plan_file=plan_file,
            listeners=listeners,
            options=options,
            framework=type(self).__name__,
        )
        with driver:
            try:
                if not driver.over:
                    with driver.heeding_signals():
                        self.walk(driver)
            except KeyboardInterrupt:
                driver.stop()
                return driver.end(at_once=True)
            report = driver.end()
        index_journal(driver.folder)
        return report

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Take what jobs of a batch system made in this run before, and take back what has not ended."""
        home = RunFolder(check_repository(plan, butler), plan.meta.output_run).path / "jobs"
        if home.is_dir():
            from executors.jobs.settling import settle

            settle(plan, butler, [home], revoke=True)

    @abc.abstractmethod
    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out, until it is over; leave no process behind."""
