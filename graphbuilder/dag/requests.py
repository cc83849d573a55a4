"""What a bundle asks of a batch system: time and memory, from what its tasks were measured to need.

They are kept with a bundling (`Bundling.about`), so that who submits bundles needs only the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Self

import attrs
import numpy as np

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling

__all__ = ["Need", "Request", "request"]


@attrs.frozen
class Need:
    """What the quanta of a task need."""

    overhead: float
    """Seconds to make what a bundle shares."""
    each: float
    """Seconds of a quantum, the mean."""
    spread: float
    """Seconds: standard deviation between quanta."""
    longest: float
    """Seconds of a quantum that so many do not exceed as `quantile` says."""
    memory: int
    """Bytes that so many do not exceed."""
    quantile: float
    """Between 0 and 1."""

    def seconds(self, n: int) -> float:
        """Return seconds that so many bundles of n quanta do not exceed as `quantile` says."""
        return self.overhead + self.more(n)

    def more(self, n: int) -> float:
        """Return `seconds` without overhead: sums of many are taken to be normal, one is as measured."""
        if n <= 1:
            return self.longest * n
        sigmas = NormalDist().inv_cdf(min(max(self.quantile, 1e-6), 1 - 1e-6))
        return max(self.each * n + sigmas * self.spread * math.sqrt(n), self.longest)

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return attrs.asdict(self)

    @classmethod
    def from_plain(cls, said: Mapping[str, Any]) -> Self:
        """Return what `plain` gave."""
        return cls(**{a.name: said[a.name] for a in attrs.fields(cls)})


@attrs.frozen
class Request:
    """What one bundle asks for."""

    seconds: float
    memory: int
    """Bytes."""
    quantile: float
    """So many bundles need no more."""


def request(dag: ScienceDag, bundling: Bundling, bundle: int) -> Request | None:
    """Return what a bundle asks for; None where nothing was measured of one of its tasks."""
    needs = bundling.about.get("needs", {})
    quanta = np.asarray(bundling[bundle])
    seconds, memory, quantile = 0.0, 0, 1.0
    for node in dag.tasks:
        n = int(((quanta >= node.first) & (quanta < node.first + node.count)).sum())
        if not n:
            continue
        if node.label not in needs:
            return None
        need = Need.from_plain(needs[node.label])
        seconds += need.seconds(n)
        memory = max(memory, need.memory)
        quantile = min(quantile, need.quantile)
    return Request(seconds, memory, quantile)
