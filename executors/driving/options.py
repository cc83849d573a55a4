"""How a plan is to be run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from executors.driving.retrying import PolicyChanges
from executors.workplaces.workplace import WorkplaceSpec

__all__ = ["Options"]


@attrs.frozen(kw_only=True)
class Options:
    """How a plan is to be run; nothing here changes what comes out."""

    resume: bool = True
    """Whether to go on with a run that was begun before; if not, such a run is refused."""
    max_failures: float | None = None
    """Start nothing more once so many quanta have failed (int), or such a share of them (float); 1 is
    "fail fast"."""
    policies: PolicyChanges = attrs.field(factory=dict)
    """What is to be done about failures in another way than the plan says."""
    retry_failed: bool = True
    """Whether what failed in earlier sessions is tried again; else it stays failed, and blocks."""
    bundling: str | None = None
    """Name of the plan's bundling to use; the last one made unless given."""
    bundles: bool = True
    """Whether to use one at all."""
    retention: Mapping[str, str] | None = attrs.field(factory=dict)
    """Name of a dataset type, or a pattern → how long such stay; see `keeping.retention.policies_for`. None
    for what the run's last session said. The pipeline's own word holds for the rest."""
    workplace: WorkplaceSpec = attrs.field(factory=WorkplaceSpec)
    """Where quanta work. What may be elided follows from `retention`."""
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    """Of this run, besides those that earlier sessions gave it."""
    tokens: Mapping[str, int] | None = attrs.field(factory=dict)
    """Name → how many tokens there are; None where nothing is run, so that they need not be counted."""
    token_folder: str = ""
    """Where they are shared with other runs."""
    job_folders: bool = False
    """Whether each job has a folder."""
