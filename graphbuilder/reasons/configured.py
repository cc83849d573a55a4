"""What overrides on data make of a quantum's task, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import QuantumRecord

__all__ = ["configured"]


def configured(dag: ScienceDag, record: QuantumRecord, _: Any = None) -> Iterator[str]:
    """Yield which variant of its task a quantum runs with, what gave it, and in what it differs."""
    node = dag.task(record.label)
    if not node.variants:
        return
    variant = node.variant(record.variant)
    if not variant.overrides:
        yield "its configuration is the task's own: no override on data matches it"
        return
    made_by = " and ".join(map(str, variant.overrides))
    yield f"its configuration is variant {record.variant}, made by {made_by}"
    if variant.class_path != node.class_path:
        yield f"its class is {variant.class_path} (elsewhere {node.class_path})"
    for path, (own, here, source) in variant.changes.items():
        yield f"{path} = {here} (elsewhere {own}), set by {source}"
    if not variant.changes and variant.class_path == node.class_path:
        yield "which changes nothing: the task's own configuration has these values already"
