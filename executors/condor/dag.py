"""A whole plan as one DAG of DAGMan's: nobody has to stay, HTCondor itself starts one bundle after another.

All folders of jobs are packed before. A job finds out when it begins what came of those that it waited for
(`executors.jobs.binding`), and the last node collects. It takes a file system that machines and the access
point share; where there is none, `CondorFramework` has HTCondor carry folders instead.

::

    .dagman/<time>/
        plan.dag            what DAGMan reads
        node-0.sub …        what jobs ask for, a file for each request
        node.sh, collect.sh what they run
        policies.json       by which nodes decide whether to try again
        nodes.log           what happens to them
        printed/            what they print
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from executors.batch import Chained, Job
from executors.condor.bindings import queue_of_host
from executors.condor.dagfile import ABORT, Node, dag_text
from executors.condor.joblog import JobLog, Kind
from executors.condor.queue import Queue
from executors.condor.site import CondorSite
from executors.condor.submitting import describe
from executors.driving.retrying import PoliciesOfTask
from executors.jobs.folder import write_whole
from supertask.errors import ExecutionError

__all__ = ["DAGS", "WrittenDag", "dagman_of", "follow_dag", "submit_dag", "write_dag"]

DAGS = ".dagman"
"""Folder beside those of jobs."""
_EVICTIONS = 3
"""How often a node is started again that ended before its end, beyond what policies say."""
_RETRIED = ("transient", "out_of_memory", "timeout", "error")
_LOOK = 0.5

_NODE = """\
#!/bin/sh
{setup}
{run} "$1"
code=$?
# Python, or our software, is not there.
case $code in 126 | 127) exit {abort} ;; *) exit "$code" ;; esac
"""


@attrs.frozen
class WrittenDag:
    """A DAG that was written."""

    path: Path
    """Its file."""
    nodes: int
    """How many bundles it has."""

    @property
    def log(self) -> Path:
        """Where HTCondor notes what happens to DAGMan itself."""
        return self.path.with_name(f"{self.path.name}.dagman.log")

    @property
    def nodes_log(self) -> Path:
        """Where it notes what happens to nodes."""
        return self.path.with_name("nodes.log")


@attrs.frozen
class _Writing:
    """What descriptions of one DAG have in common."""

    place: Path
    home: Path
    site: CondorSite
    files: dict[tuple[str, ...], str] = attrs.field(factory=dict)
    """What is asked for → name of the description."""

    def node(self, chained: Chained) -> Node:
        """Return the node of a job."""
        job = chained.job
        return Node(job.name, self._description(job), chained.after, job.precedence)

    def _description(self, job: Job) -> str:
        site = self.site
        own = ("request_memory", "priority")
        asked = tuple(line for line in site.asked(job) if not line.startswith(own))
        # A node that is tried again may have run out of memory.
        memory = site.megabytes(job.memory, job.measured)
        asked += (f"request_memory = int({memory} * pow({site.growth}, $(retry)))",)
        if asked not in self.files:
            name = f"node-{len(self.files)}.sub"
            lines = describe(
                site,
                self.place / "node.sh",
                folder=f"{self.home}/$(node)",
                home=self.home,
                log=self.place / "nodes.log",
                printed=f"{self.place}/printed/$(node)",
                asked=asked,
            )
            write_whole(self.place / name, "\n".join([*lines, "queue", ""]).encode())
            self.files[asked] = name
        return str(self.place / self.files[asked])

    def script(self, job: Job) -> None:
        """Write what nodes run; commands differ in the folder alone."""
        options = job.command[job.command.index(str(job.folder)) + 1 :]
        words = [job.command[0], "-m", "executors.condor.node", str(self.place / "policies.json"), *options]
        text = _NODE.format(setup="\n".join(self.site.setup), run=shlex.join(words), abort=ABORT)
        _write_program(self.place / "node.sh", text)

    def final(self, plan_file: Path) -> str:
        """Write the description of the last node, which runs on the access point; return its path."""
        script, printed = self.place / "collect.sh", self.place / "printed" / "collect"
        words = [
            sys.executable,
            "-m",
            "executors.cmdline",
            "collect",
            str(plan_file),
            "--from",
            str(self.home),
        ]
        _write_program(script, f"#!/bin/sh\nexec {shlex.join(words)}\n")
        lines = [
            "universe = local",
            f"executable = {script}",
            f"initialdir = {plan_file.parent}",
            f"output = {printed}.out",
            f"error = {printed}.err",
            f"log = {self.place / 'nodes.log'}",
            f"getenv = {', '.join([*self.site.inherit, 'HOME'])}",
            "queue",
            "",
        ]
        write_whole(self.place / "collect.sub", "\n".join(lines).encode())
        return str(self.place / "collect.sub")


def _write_program(path: Path, text: str) -> None:
    write_whole(path, text.encode())
    path.chmod(0o755)


def write_dag(
    chained: Sequence[Chained],
    plan_file: Path,
    site: CondorSite,
    policies: Mapping[str, PoliciesOfTask],
) -> WrittenDag:
    """Write a DAG of jobs whose folders are packed.

    Parameters
    ----------
    chained : sequence of Chained
        The jobs, each after those that it goes after; their folders lie side by side.
    plan_file : Path
        Where the plan is.
    site : CondorSite
        What is said with each job.
    policies : Mapping
        Task label → the failure policies by which nodes are tried again.

    Raises
    ------
    ExecutionError
        Nothing is left to run, or it cannot be written.
    """
    if not chained:
        raise ExecutionError("nothing is left to run: all of the plan has ended")
    home = chained[0].job.folder.parent
    writing = _Writing(home / DAGS / f"{time.time_ns():x}", home, site)
    try:
        (writing.place / "printed").mkdir(parents=True)
    except OSError as error:
        raise ExecutionError(f"{writing.place} cannot be made: {error.strerror or error}") from error
    said = {label: [policy.to_dict() for policy in each] for label, each in policies.items()}
    write_whole(writing.place / "policies.json", json.dumps(said).encode())
    writing.script(chained[0].job)
    retries = max(sum(getattr(p.retries, k) for k in _RETRIED) for each in policies.values() for p in each)
    nodes = [writing.node(each) for each in chained]
    text = dag_text(nodes, writing.final(plan_file), retries=_EVICTIONS + retries)
    file = writing.place / "plan.dag"
    write_whole(file, text.encode())
    return WrittenDag(file, len(nodes))


def submit_dag(dag: WrittenDag, queue: Queue | None = None, *, throttle: int = 0) -> int:
    """Submit a DAG; return the number of its DAGMan's cluster.

    Submitted again after it had ended early, it goes on where it was: DAGMan has written down which nodes are
    done (``plan.dag.rescue001``).

    Parameters
    ----------
    dag : WrittenDag
        The DAG.
    queue : Queue, optional
        How to reach HTCondor, where it is not as everywhere.
    throttle : int, optional
        So many of its jobs may wait in the queue at once; 0 for as many as HTCondor lets.

    Raises
    ------
    CondorRefusedError
        HTCondor does not take it.
    ExecutionError
        HTCondor is not installed here, or cannot be reached.
    """
    words = {"MaxIdle": throttle} if throttle else {}
    return (queue or queue_of_host()).submit_dag(dag.path, words)


def follow_dag(
    dag: WrittenDag, told: Callable[[int], object] = lambda _: None, *, patience: float | None = None
) -> bool:
    """Wait until DAGMan has ended; return whether it says that all went well.

    Parameters
    ----------
    dag : WrittenDag
        A DAG that was submitted.
    told : callable, optional
        Called with how many nodes have ended, whenever that changes.
    patience : float, optional
        Seconds to wait at most.

    Raises
    ------
    ExecutionError
        It was removed or held, or has not ended in time.
    """
    own, nodes = JobLog(dag.log), JobLog(dag.nodes_log)
    ended: set[int] = set()
    until = None if patience is None else time.monotonic() + patience
    while True:
        well = _ended_well(own)
        before = len(ended)
        ended |= {e.cluster for e in nodes.read() if e.kind == Kind.ENDED and "(return value 0)" in e.text}
        if len(ended) > before:
            told(len(ended))
        if well is not None:
            return well
        if until is not None and time.monotonic() > until:
            raise ExecutionError(
                f"the DAG has not ended after {patience:g} s; it goes on without this command"
            )
        time.sleep(_LOOK)


def dagman_of(log: Path) -> int | None:
    """Return the cluster of the DAGMan that a log is of, where that has not ended."""
    cluster: int | None = None
    for event in JobLog(log).read():
        if event.kind == Kind.SUBMITTED:
            cluster = event.cluster
        elif event.kind in {Kind.ENDED, Kind.REMOVED}:
            cluster = None
    return cluster


def _ended_well(log: JobLog) -> bool | None:
    """Return whether DAGMan has ended well; None before its end."""
    well: bool | None = None
    for event in log.read():
        match event.kind:
            case Kind.SUBMITTED:
                well = None
            case Kind.ENDED:
                well = "(return value 0)" in event.text
            case Kind.REMOVED:
                raise ExecutionError(f"DAGMan was removed: {_why(event.text)}; what has ended stays so")
            case Kind.HELD:
                raise ExecutionError(f"DAGMan is held: {_why(event.text)} (condor_release {event.cluster})")
    return well


def _why(text: str) -> str:
    return next((line for line in text.splitlines()[1:] if line), "no reason is given")
