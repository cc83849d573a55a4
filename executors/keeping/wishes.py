"""How long datasets stay, as whoever ran a plan last wished it, for who settles the run without them.

Jobs that no driver waits for are settled later, by a command that does not know what was said when they were
submitted. So that is written beside the journal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from executors.journal.runfolder import RunFolder
from executors.keeping.retention import policies_for
from graphbuilder.dag.dag import ScienceDag
from supertask.datasets import Dataset
from supertask.errors import ExecutionError
from supertask.pipelines.retention import Retention

__all__ = ["policies_in"]

_FILE = "retention.json"


def policies_in(
    folder: RunFolder, plan: ScienceDag, given: Mapping[str, str] | None
) -> dict[type[Dataset], Retention]:
    """Return how long types of a plan stay in a run, as `policies_for` does.

    Parameters
    ----------
    folder : RunFolder
        The run's folder; what is given is written there.
    plan : ScienceDag
        The plan. What its pipeline says holds where nothing is wished.
    given : Mapping or None
        What is wished; None for what was wished last.

    Raises
    ------
    ExecutionError
        It does not fit the plan, or cannot be written or read.
    """
    path = folder.path / _FILE
    try:
        if given is None:
            wished = json.loads(path.read_text("utf-8")) if path.exists() else {}
            return policies_for(plan, {}, wished, plan.meta.retention)
        policies = policies_for(plan, given, plan.meta.retention)
        if given:
            temporary = path.with_name(f".tmp-{os.getpid()}-{_FILE}")
            temporary.write_text(json.dumps(dict(given)), "utf-8")
            temporary.replace(path)
        else:
            path.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise ExecutionError(
            f"run {folder.run!r}: how long its datasets stay cannot be kept in {path}: {error}"
        ) from error
    return policies
