"""How the nodes of a DAG stand while DAGMan drives them: from the logs beside it, and from the queue.

A node that DAGMan has not submitted yet waits as long as DAGMan lives, and one that it starts once more waits
again. Which job is which node stands in the event of its submission.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from executors.batch import JobState
from executors.condor.dag import WrittenDag
from executors.condor.dagfile import ABORT
from executors.condor.joblog import JobLog, Kind
from executors.condor.queue import HELD, Queue
from executors.condor.standing import Standing

__all__ = ["standings_in"]

_NODE = re.compile(r"^DAG Node: (\S+)$", re.MULTILINE)
_AT_ITS_END = {f"exit code {code}" for code in (0, ABORT)}


class _Nodes:
    """Nodes of one DAG."""

    def __init__(self, dag: WrittenDag) -> None:
        lines = dag.path.read_text(encoding="utf-8").splitlines()
        self.standings = {line.split()[1]: Standing() for line in lines if line.startswith("JOB ")}
        self._log = JobLog(dag.nodes_log)
        self._names: dict[tuple[int, int], str] = {}

    def read(self) -> None:
        for event in self._log.read():
            job = event.cluster, event.process
            if event.kind == Kind.SUBMITTED and (node := _NODE.search(event.text)) is not None:
                self._names[job] = node[1]
                if node[1] in self.standings:
                    self.standings[node[1]] = Standing()
            if (standing := self.standings.get(self._names.get(job, ""))) is not None:
                standing.take(event)


def standings_in(file: Path, queue: Queue) -> Mapping[str, Standing]:
    """Return how the jobs of a DAG stand.

    Parameters
    ----------
    file : Path
        What DAGMan was given, or is to be given.
    queue : Queue
        How to reach HTCondor.

    Raises
    ------
    ExecutionError
        It is not installed here, or cannot be reached.
    """
    nodes = _Nodes(WrittenDag(file, 0))
    nodes.read()
    dagman = _last_of(WrittenDag(file, 0).log)
    if dagman is None:
        for standing in nodes.standings.values():
            standing.lost()
        return nodes.standings
    before = {name: each.id for name, each in nodes.standings.items() if each.state is not JobState.GONE}
    there = queue.standing(f"ClusterId == {dagman} || DAGManJobId == {dagman}")
    nodes.read()  # what has happened while it was asked
    lives = f"{dagman}.0" in there
    for name, standing in nodes.standings.items():
        if standing.id:
            if standing.id == before.get(name) and standing.id not in there:
                standing.lost()
            if lives and standing.state is JobState.GONE and not _is_over(standing):
                standing.state = JobState.WAITING
        elif not lives:
            standing.lost()
        elif there[f"{dagman}.0"] == HELD:
            standing.hold_by_user(f"DAGMan is held ({dagman}.0)")
    return nodes.standings


def _is_over(standing: Standing) -> bool:
    """Tell whether DAGMan leaves a node alone that has ended."""
    return standing.why in _AT_ITS_END or standing.held


def _last_of(log: Path) -> int | None:
    """Return the cluster of the DAGMan that was submitted last; None where none was."""
    clusters = [event.cluster for event in JobLog(log).read() if event.kind == Kind.SUBMITTED]
    return clusters[-1] if clusters else None
