"""A plan as a graph of tasks and dataset types with their numbers, and its text forms."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.preview.markup import for_dot, for_mermaid

__all__ = ["Node", "PlanGraph", "dot", "graph_of", "mermaid"]


@attrs.frozen
class Node:
    """A task or a dataset type."""

    name: str
    units: tuple[str, ...]
    count: int
    """Quanta, or datasets."""
    is_task: bool
    made: bool = True
    """Whether the plan makes it; of dataset types."""

    @property
    def counted(self) -> str:
        """The count with its noun."""
        noun = ("quantum", "quanta") if self.is_task else ("dataset", "datasets")
        return f"{self.count:,} {noun[self.count != 1]}"


@attrs.frozen
class PlanGraph:
    """Tasks and dataset types of a plan and how they follow one another."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int, int], ...]
    """From node, to node, how many single edges between quanta and datasets it stands for."""


def graph_of(dag: ScienceDag) -> PlanGraph:
    """Return the graph of a plan's tasks and dataset types."""
    nodes = [Node(t.label, t.quantum_units, t.count, is_task=True) for t in dag.tasks]
    types = {t: len(nodes) + i for i, t in enumerate(dag.datasets)}
    nodes += [
        Node(t.name, t.units, table.n, is_task=False, made=t in dag.producers)
        for t, table in dag.datasets.items()
    ]
    edges = []
    for k, table in enumerate(dag.quantum_tables):
        edges += [(types[t], k, e.count) for t, e in table.inputs.items()]
        edges += [(k, types[t], e.count) for t, e in table.outputs.items()]
    return PlanGraph(tuple(nodes), tuple(edges))


def mermaid(graph: PlanGraph) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart: boxes are tasks, rounded ones dataset types."""
    yield "flowchart TD"
    for i, node in enumerate(graph.nodes):
        text = "<br>".join(for_mermaid(t) for t in (node.name, node.counted, ", ".join(node.units)) if t)
        begin, end = ("[", "]") if node.is_task else ("([", "])")
        yield f'  n{i}{begin}"{text}"{end}'
    for a, b, n in graph.edges:
        yield f"  n{a} -->|{n:,}| n{b}"
    for i, node in enumerate(graph.nodes):
        if node.is_task:
            yield f"  style n{i} fill:#d6e4f0,stroke:#2b5c8a"
        elif not node.made:
            yield f"  style n{i} fill:#f4ecd8,stroke:#9a7b2f"


def dot(graph: PlanGraph) -> Iterator[str]:
    """Yield the lines of a Graphviz graph: boxes are tasks, ellipses dataset types."""
    yield "digraph plan {"
    yield '  graph [rankdir=TB]; node [fontname="Helvetica", style=filled]; edge [color="#555555"];'
    for i, node in enumerate(graph.nodes):
        shape, fill = ("box", "#d6e4f0") if node.is_task else ("ellipse", "white" if node.made else "#f4ecd8")
        text = "\\n".join(for_dot(t) for t in (node.name, node.counted, ", ".join(node.units)) if t)
        yield f'  n{i} [shape={shape}, fillcolor="{fill}", label="{text}"];'
    for a, b, n in graph.edges:
        yield f'  n{a} -> n{b} [label="{n:,}"];'
    yield "}"
