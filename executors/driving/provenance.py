"""What a run's record in the repository says of its outputs, beside what made them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from executors.journal.report import CaveatGroup
from supertask.butler.port import AbstractButler
from supertask.errors import SuperTaskError

__all__ = ["note_caveats"]


def note_caveats(butler: AbstractButler, run: str, caveats: Iterable[CaveatGroup]) -> list[str]:
    """Add caveats to a run's provenance; return what stands in the way, which the journal outlives."""
    new: list[dict[str, Any]] = [
        {"task": c.label, "caveat": c.caveat, "quanta": c.count, "indices": list(c.indices)} for c in caveats
    ]
    if not new:
        return []
    try:
        found = butler.run_provenance(run)
        known = found.get("caveats", [])
        butler.set_run_provenance(run, {**found, "caveats": [*known, *(c for c in new if c not in known)]})
    except SuperTaskError as error:
        return [f"caveats could not be noted in the repository: {error}; the journal has them"]
    return []
