"""InProcessFramework: one quantum after another in this very process; good for debuggers and small plans."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence

from executors.driving.driver import Driver
from executors.host.limits import Guard
from executors.host.processes import children, end_children
from executors.outcome import Attempt, QuantumStatus
from executors.overheads.making import Overheads
from executors.overheads.shared import SharedObjects
from executors.overheads.store import OverheadStore
from executors.port import ExecutionFramework
from executors.quanta.fusion import Fusion, Readings
from executors.quanta.jobfolders import folded, job_folders
from executors.quanta.performer import Performer
from executors.quanta.runner import QuantumRunner
from executors.quanta.surroundings import Surroundings
from executors.workplaces.workplace import Workplace
from graphbuilder.dag.values import Outline

__all__ = ["InProcessFramework"]

_CHUNK = 32


class InProcessFramework(ExecutionFramework):
    """Runs a plan in this process.

    Notes
    -----
    A task that ends the process (``os._exit``, a segmentation fault) ends the run with it; the same call goes
    on after. `MultiprocessFramework` survives such tasks. How far limits of time and memory hold here is said
    in `executors.host.limits`.
    """

    def walk(self, driver: Driver) -> None:
        """Run all that the driver hands out."""
        host, pid = socket.gethostname(), os.getpid()
        before = children()

        def started(index: int, number: int, time_ns: int, _: bytes) -> None:
            driver.started(index, number, host, pid, time_ns)

        def ended(attempt: Attempt, _: bytes) -> None:
            if attempt.status is QuantumStatus.CANCELLED:
                end_children(but=before)  # somebody wants all of this to end at once
            driver.ended(attempt)
            driver.pulse()

        def alike(attempt: Attempt, others: Sequence[Outline], _: bytes) -> None:
            driver.ended_alike(attempt, others)
            driver.pulse()

        guard = Guard(driver.retrying.limits, alarm=True)
        surroundings = Surroundings(driver.surroundings, driver.progressed if driver.events else None)
        keep_log = driver.journal.write_log
        machine = SharedObjects(driver.datastore.root, driver.header.run, driver.header.plan)
        overheads = Overheads(OverheadStore(driver.workplace.overhead_memory), guard.paused, machine)
        with (
            driver.beating(),
            Workplace(driver.datastore, driver.workplace) as workplace,
            QuantumRunner(
                driver.plan, workplace, driver.tasks, keep_log, guard, surroundings, overheads
            ) as runner,
        ):
            fusion = Fusion(driver.plan, workplace, Readings(driver.plan)) if driver.workplace.elide else None
            folders = job_folders(driver.surroundings, driver.plan, driver.header.plan, own_process=False)
            note = folders.noting(ended) if folders is not None else ended
            performer = folded(
                Performer(
                    runner,
                    driver.journal,
                    started,
                    note,
                    fusion,
                    alike=alike if folders is None else None,
                ),
                folders,
            )
            while not driver.over:
                work = driver.take(_CHUNK)
                if work is None:
                    driver.rest()
                    continue
                left = dict.fromkeys(work.quanta)

                def wanted(left: dict[int, None] = left) -> Iterator[int]:
                    while left and not driver.schedule.stopped:
                        q = next(iter(left))
                        del left[q]
                        yield q

                performer.perform(
                    work,
                    wanted(),
                    numbers=driver.numbers(work.quanta),
                    missing=driver.missing(work),
                    memory=driver.retrying.granted(work.quanta),
                )
                driver.give_back(left)
