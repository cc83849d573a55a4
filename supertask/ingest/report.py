"""What came of an ingest."""

from __future__ import annotations

import attrs

from supertask.datasets import Dataset

__all__ = ["IngestReport"]


@attrs.frozen
class IngestReport:
    """What came of an ingest: every file that was found is in one of the three."""

    ingested: tuple[Dataset, ...] = ()
    """Datasets that are new in the run."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Files that there was nothing to do about, and why: registered already, or passed over."""
    failed: tuple[tuple[str, str], ...] = ()
    """Files that were refused, and why."""
    warnings: tuple[tuple[str, str], ...] = ()
    """Files that were taken, and what is not as one would wish."""
    related: int = 0
    """Rows that were added to spatial relations."""

    @property
    def ok(self) -> bool:
        """Whether no file was refused."""
        return not self.failed

    def __str__(self) -> str:
        counts = f"{len(self.ingested)} datasets ingested, {len(self.skipped)} files skipped"
        lines = [f"{counts}, {len(self.failed)} failed"]
        lines += [f"  failed {path}: {reason}" for path, reason in self.failed]
        lines += [f"  warning {path}: {reason}" for path, reason in self.warnings]
        return "\n".join(lines)
