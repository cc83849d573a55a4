"""What is said of a plan that came out empty: which condition emptied it, and what would match."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from graphbuilder.reasons.nearest import shortened
from graphbuilder.reasons.selection import select_step_by_step
from supertask.butler.port import AbstractButler
from supertask.conditions import Condition
from supertask.datasets import Dataset
from supertask.errors import EmptyPlanError

__all__ = ["empty_plan"]


def empty_plan(
    butler: AbstractButler,
    steps: Sequence[tuple[str, str, int]],
    where: str,
    condition: Condition | None,
    *,
    inputs: Sequence[type[Dataset]],
    certified: Collection[type[Dataset]],
    collections: Sequence[str],
    relations: Collection[str] = (),
) -> EmptyPlanError:
    """Return the error for an empty plan, with what its expression left, condition by condition.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    steps : sequence of tuple
        Task label or empty, step, how many it left.
    where : str
        The expression as it was given.
    condition : Condition or None
        The expression as it was understood.
    inputs, certified : collection of dataset type
        What must be there already, and which of that may be certified for ranges of time.
    collections : sequence of str
        Collections searched.
    relations : collection of str, optional
        Relations that planning follows.
    """
    chosen = select_step_by_step(
        butler, condition, inputs, collections=collections, certified=certified, relations=relations
    )
    findings = chosen.findings()
    label, what = next(((label, what) for label, what, n in steps if not n), ("", "no quanta"))
    first = f"the first step that left nothing was {f'{label}: ' if label else ''}{what}"
    expression = f" with {shortened(where)!r}" if where.strip() else ""
    lines = [f"the plan{expression} is empty: {findings[0] if findings else first}"]
    lines += [f"  {finding}" for finding in findings[1:]]
    lines += [first] if findings else []
    lines += [f"  {n:>10,}  {f'{task}: ' if task else ''}{step}" for task, step, n in _until_empty(steps)]
    return EmptyPlanError("\n".join(lines), tuple(steps), findings)


def _until_empty(steps: Sequence[tuple[str, str, int]]) -> Iterator[tuple[str, str, int]]:
    """Yield the steps of each task up to the first that left nothing."""
    empty = set()
    for task, step, n in steps:
        if task not in empty:
            yield task, step, n
        if task and not n:
            empty.add(task)
