"""MultiprocessFramework: warm worker processes on this machine, started once, fed over pipes."""

from __future__ import annotations

import multiprocessing
import os

import attrs

from executors.driving.driver import Driver
from executors.driving.opening import check_repository
from executors.journal.runfolder import RunFolder
from executors.overheads.store import default_limit
from executors.pool.crew import Crew, warm_up
from executors.pool.worker import WorkerSpec
from executors.port import ExecutionFramework
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.port import AbstractButler
from supertask.errors import ExecutionError

__all__ = ["MultiprocessFramework"]

_METHODS = ("forkserver", "spawn", "fork")


class MultiprocessFramework(ExecutionFramework):
    """Runs a plan in several processes of this machine.

    Parameters
    ----------
    processes : int, optional
        How many; as many as this process may use cores unless given.
    start_method : str, optional
        How they are started: ``forkserver``, ``spawn`` or ``fork``. Unless given it is the first
        that there is, but ``fork`` for a plan with tasks that are defined in the script itself,
        which no new process could import.
    threads : int, optional
        How many threads numerical libraries may use in each process; what the environment says
        (``OMP_NUM_THREADS`` and its like) comes first.

    Notes
    -----
    Workers do not run the script that calls this again, so it needs no ``if __name__ == "__main__":``.
    A process that dies fails the quantum that it ran, and no other, and is replaced.
    """

    def __init__(
        self, processes: int | None = None, *, start_method: str | None = None, threads: int = 1
    ) -> None:
        if processes is None:
            processes = (
                len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            )
        if processes < 1:
            raise ExecutionError(f"a pool needs 1 process or more, not {processes}")
        if start_method is not None and start_method not in _METHODS:
            raise ExecutionError(f"start_method is one of {', '.join(_METHODS)}, not {start_method!r}")
        self.processes = processes
        self.start_method = start_method
        self.threads = threads

    def prepare(self, plan: ScienceDag, butler: AbstractButler) -> None:
        """Let workers' imports begin while the run is opened, unless it may turn out to be finished."""
        super().prepare(plan, butler)
        new = not RunFolder(check_repository(plan, butler), plan.meta.output_run).journal.is_dir()
        if new and (self.start_method or _method_for(plan)) == "forkserver":
            warm_up(plan, self.threads)

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out."""
        method = self.start_method or _method_for(driver.plan)
        crew = Crew(driver, self._spec(driver), self.processes, method, self.threads)
        try:
            self._feed(driver, crew)
        except BaseException:
            crew.kill()
            raise
        crew.dismiss()

    def _spec(self, driver: Driver) -> WorkerSpec:
        plan_file = driver.header.plan_file
        if not plan_file:
            plan_file = str(driver.folder.plan)
            driver.plan.save(plan_file)
        header = attrs.asdict(driver.header)
        limits = {label: each for label, each in driver.retrying.limits.items() if any(each)}
        memory = {label: [one.memory for one in each] for label, each in limits.items()}
        workplace = driver.workplace
        if workplace.overhead_memory is None:
            workplace = attrs.evolve(workplace, overhead_memory=default_limit(self.processes))
        return WorkerSpec(
            driver.folder.root,
            plan_file,
            header,
            driver.init_inputs,
            memory,
            workplace,
            driver.surroundings,
        )

    @staticmethod
    def _feed(driver: Driver, crew: Crew) -> None:
        crew.start()
        while True:
            if driver.schedule.stopped:
                crew.stop()
            else:
                crew.hand_out()
            if driver.over:
                return
            crew.listen()
            driver.pulse()


def _method_for(plan: ScienceDag) -> str:
    methods = multiprocessing.get_all_start_methods()
    in_script = any(node.class_path.startswith("__main__:") for node in plan.tasks)
    return "fork" if in_script and "fork" in methods else next(m for m in _METHODS if m in methods)
