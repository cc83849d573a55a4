"""A pipeline drawn: tasks and dataset types with their units, as text, Mermaid or Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from graphbuilder.preview.markup import for_dot, for_mermaid
from supertask.datasets import Dataset
from supertask.pipelines.pipeline import Pipeline, TaskDef

__all__ = ["dot", "mermaid", "terminal_graph"]


def _units(task: TaskDef) -> str:
    return ", ".join(getattr(task.config, "quantum_units", ()))


def _edges(pipeline: Pipeline) -> Iterator[tuple[str, str, bool]]:
    """Yield label, dataset type, and whether the task reads it."""
    for label, task in pipeline.items():
        for name in dict.fromkeys(
            f.dataset_type.name for f in task.dataset_fields.values() if _reads(f.role)
        ):
            yield label, name, True
        for name in dict.fromkeys(
            f.dataset_type.name for f in task.dataset_fields.values() if not _reads(f.role)
        ):
            yield label, name, False


def _reads(role: object) -> bool:
    return str(getattr(role, "value", "")) in ("input", "calibration", "init_input")


def _types(pipeline: Pipeline) -> dict[str, type[Dataset]]:
    return {name: use.dataset_type for name, use in pipeline.dataset_types().items()}


def terminal_graph(pipeline: Pipeline) -> Iterator[str]:
    """Yield the lines of a graph: a column for each dataset type as long as a later task reads it.

    Parameters
    ----------
    pipeline : Pipeline
        Its tasks in order.
    """
    types = _types(pipeline)
    edges = list(_edges(pipeline))
    last = {name: label for label, name, reads in edges if reads}
    columns: list[str] = []
    for name, use in pipeline.dataset_types().items():
        if use.producer is None:
            yield f"{'│' * len(columns)}○ {_say(types[name])}"
            columns.append(name)
    for label, task in pipeline.items():
        reads = [name for at, name, is_read in edges if at == label and is_read]
        marks = "".join("●" if c in reads else "│" for c in columns)
        yield f"{marks}{'━' if reads else ''}■ {label} ({_units(task) or 'by hand'})"
        columns = [c for c in columns if not (c in reads and last.get(c) == label)]
        for name in (name for at, name, is_read in edges if at == label and not is_read):
            yield f"{'│' * len(columns)}○ {_say(types[name])}"
            if name in last:
                columns.append(name)


def _say(kind: type[Dataset]) -> str:
    return f"{kind.name} ({', '.join(kind.units)})" if kind.units else kind.name


def mermaid(pipeline: Pipeline) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart: boxes are tasks, rounded ones dataset types."""
    types = _types(pipeline)
    numbers = {name: f"d{i}" for i, name in enumerate(types)}
    tasks = {label: f"t{i}" for i, label in enumerate(pipeline)}
    yield "flowchart TD"
    for label, task in pipeline.items():
        yield f'  {tasks[label]}["{for_mermaid(label)}<br>{for_mermaid(_units(task))}"]'
    for name, kind in types.items():
        yield f'  {numbers[name]}(["{for_mermaid(name)}<br>{for_mermaid(", ".join(kind.units))}"])'
    for label, name, reads in _edges(pipeline):
        pair = (numbers[name], tasks[label])
        yield "  {} --> {}".format(*(pair if reads else pair[::-1]))


def dot(pipeline: Pipeline) -> Iterator[str]:
    """Yield the lines of a Graphviz graph: boxes are tasks, ellipses dataset types."""
    yield "digraph pipeline {"
    for label, task in pipeline.items():
        words = f"{for_dot(label)}\\n{for_dot(_units(task))}"
        yield f'  "task:{for_dot(label)}" [shape=box, style=filled, label="{words}"];'
    for name, kind in _types(pipeline).items():
        words = f"{for_dot(name)}\\n{for_dot(', '.join(kind.units))}"
        yield f'  "{for_dot(name)}" [shape=ellipse, label="{words}"];'
    for label, name, reads in _edges(pipeline):
        pair = (f'"{for_dot(name)}"', f'"task:{for_dot(label)}"')
        yield "  {} -> {};".format(*(pair if reads else pair[::-1]))
    yield "}"
