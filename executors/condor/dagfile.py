"""The file that tells DAGMan what goes after what, and with what priority: one line or two for a node.

Nodes that go after the very same others share a line, for a wide gather would have a line for each pair else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from supertask.errors import ExecutionError

__all__ = ["ABORT", "Node", "dag_text"]

ABORT = 2
"""Exit code of a node by which nothing else of the DAG is worth beginning."""


@attrs.frozen
class Node:
    """One job of the DAG."""

    name: str
    description: str
    """The file that describes its job."""
    after: tuple[str, ...] = ()
    """Nodes that it goes after."""
    precedence: int = 0
    """Of its tasks, as their submit hooks say."""


def dag_text(nodes: Sequence[Node], final: str, *, retries: int) -> str:
    """Return the text of a DAG file.

    Parameters
    ----------
    nodes : sequence of Node
        Each after those that it goes after.
    final : str
        The file that describes the job which runs last, whatever became of the others.
    retries : int
        How often a node is tried again.

    Raises
    ------
    ExecutionError
        There are none.
    """
    if not nodes:
        raise ExecutionError("nothing is left to run: all of the plan has ended")
    return "\n".join(_lines(nodes, final, retries)) + "\n"


def _lines(nodes: Sequence[Node], final: str, retries: int) -> Iterator[str]:
    yield f"# {len(nodes)} bundles of a plan, and what collects what they make"
    for node in nodes:
        yield f"JOB {node.name} {node.description}"
    yield 'VARS ALL_NODES node="$(JOB)" retry="$(RETRY)"'
    if retries:
        yield f"RETRY ALL_NODES {retries} UNLESS-EXIT {ABORT}"
    yield f"ABORT-DAG-ON ALL_NODES {ABORT} RETURN {ABORT}"
    for name, priority in _priorities(nodes).items():
        if priority:
            yield f"PRIORITY {name} {priority}"
    alike: dict[tuple[str, ...], list[str]] = {}
    for node in nodes:
        if node.after:
            alike.setdefault(node.after, []).append(node.name)
    for before, after in alike.items():
        yield f"PARENT {' '.join(before)} CHILD {' '.join(after)}"
    yield f"FINAL collect {final}"


def _priorities(nodes: Sequence[Node]) -> dict[str, int]:
    """Return for each node how many lie one after another behind it, under what submit hooks ask for.

    Those with most behind them come first: what they hold up is the length of the run.
    """
    behind = dict.fromkeys((node.name for node in nodes), 0)
    for node in reversed(nodes):
        beyond = behind[node.name] + 1
        for before in node.after:
            behind[before] = max(behind[before], beyond)
    most = max(behind.values()) + 1
    return {node.name: behind[node.name] + most * node.precedence for node in nodes}
