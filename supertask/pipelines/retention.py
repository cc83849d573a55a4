"""How long datasets of a type stay, as pipelines say it: a name or a pattern → a policy.

Only what a pipeline both makes and reads can go: what comes from outside cannot be made again by it, and what
none of its tasks reads is what it is for.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

import attrs

from supertask.errors import PipelineError, Problems, did_you_mean
from supertask.pipelines.taskdefs import DatasetUse, TaskDef, dataset_uses

__all__ = [
    "Retained",
    "Retention",
    "check_retention",
    "is_pattern",
    "laid_over",
    "make_retained",
    "rule_for",
    "still_said",
]

T = TypeVar("T")
_WILD = frozenset("*?[")


class Retention(enum.Enum):
    """How long datasets of a type stay."""

    KEEP = "keep"
    """For good."""
    UNTIL_USED = "until-used"
    """Until every quantum of the plan that reads it has succeeded or found no work."""
    ON_FAILURE = "on-failure"
    """Until the run ends; then what led to something that failed, was blocked or did not run stays."""


@attrs.frozen
class Retained:
    """A policy, and where it is said."""

    policy: Retention
    source: str = attrs.field(default="", eq=False)


def make_retained(name: str, policy: Retention | str, source: str = "") -> Retained:
    """Return the policy of a dataset type or pattern; raise PipelineError if there is no such."""
    words = [r.value for r in Retention]
    if not isinstance(policy, Retention) and policy not in words:
        raise PipelineError(
            f"retention of {name!r}: {policy!r} is not one of {', '.join(words)}"
            f"{did_you_mean(str(policy), words)}"
        )
    return Retained(Retention(policy), source)


def is_pattern(name: str) -> bool:
    """Tell whether it is a pattern such as ``*_image``, rather than the name of a dataset type."""
    return not _WILD.isdisjoint(name)


def rule_for(name: str, rules: Mapping[str, T]) -> T | None:
    """Return what is said of a dataset type: by its name, else by the last pattern that fits."""
    if name in rules:
        return rules[name]
    fitting = [said for pattern, said in rules.items() if is_pattern(pattern) and fnmatchcase(name, pattern)]
    return fitting[-1] if fitting else None


def laid_over(rules: Mapping[str, T], over: Mapping[str, T]) -> dict[str, T]:
    """Return rules with others over them, which come last, as of patterns the last holds."""
    return {**{name: said for name, said in rules.items() if name not in over}, **over}


def check_retention(tasks: Iterable[TaskDef], rules: Mapping[str, Retained], problems: Problems) -> None:
    """Note names of which a pipeline has no dataset type, or none that it both makes and reads."""
    uses = dataset_uses(tasks) if rules else {}
    for name, said in rules.items():
        at = f"{said.source}: " if said.source else ""
        if is_pattern(name):
            continue
        if name not in uses:
            known = [n for n, use in uses.items() if _is_intermediate(use)]
            problems.add(
                f"{at}retention: the pipeline has no dataset type {name!r}{did_you_mean(name, uses)}; "
                f"it both makes and reads {', '.join(known) or 'none'}"
            )
        elif said.policy is not Retention.KEEP and not _is_intermediate(uses[name]):
            problems.add(
                f"{at}retention: {name} cannot be {said.policy.value}: {_why(uses[name])}, so it is never "
                "deleted"
            )


def _is_intermediate(use: DatasetUse) -> bool:
    return bool(use.producer and use.consumers) and not use.init


def _why(use: DatasetUse) -> str:
    if use.init:
        return "tasks need it to be constructed"
    return "no task reads it" if use.producer else "no task makes it"


def still_said(
    rules: Mapping[str, Retained], whole: Iterable[TaskDef], part: Iterable[TaskDef]
) -> dict[str, Retained]:
    """Return what is said of retention in a part of a pipeline.

    What tasks read that are not in the part stays for them: it is said to be kept.
    """
    if not rules:
        return {}
    before, after = dataset_uses(whole), dataset_uses(part)
    said = {n: r for n, r in rules.items() if is_pattern(n) or (n in after and _is_intermediate(after[n]))}
    for name, use in after.items():
        rule = rule_for(name, said)
        left = len(before[name].consumers) > len(use.consumers)
        if rule is not None and rule.policy is not Retention.KEEP and left and _is_intermediate(use):
            said[name] = attrs.evolve(rule, policy=Retention.KEEP)
    return said
