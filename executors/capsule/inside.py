"""The process that a capsule's quantum runs in: ``python -P -m executors.capsule.inside FOLDER CODE HERE``.

Code that is installed, or in the folder that the user is in (HERE), comes before what the capsule brings.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from executors.host.resources import environment
from executors.jobs.bundlefile import read_bundle
from executors.jobs.folder import ExitCode, JobFolder
from executors.jobs.running import run_job
from supertask.classpath import load_class
from supertask.configs.sources import source_hash
from supertask.errors import SuperTaskError
from supertask.tasks.hooks import JobRequest, hooks_of, requested
from supertask.tasks.supertask import SuperTask

__all__ = ["SAID", "main"]

SAID = "inside.json"


def main(arguments: Sequence[str]) -> int:
    """Run the job in a folder; note in `SAID` which code it was, and why nothing was begun."""
    folder, code, here = map(Path, arguments)
    sys.path += [str(here), str(code)]
    said: dict[str, object] = {"source": "", "versions": {}, "why": ""}
    exit_code = int(ExitCode.BAD_INPUT)
    try:
        plan = read_bundle(JobFolder(folder).bundle)
        record = plan.records(plan.work.quanta)[0]
        node = next(t for t in plan.tasks if t.label == record.label)
        variant = node.variant(record.variant)
        cls = load_class(variant.class_path, SuperTask)
        config = cls.ConfigClass.from_dict(variant.config, "the capsule")
        said["source"] = source_hash(cls, config)
        # What the run's driver would ask of the place where this runs.
        os.environ.update(requested(JobRequest(label=node.label), hooks_of(cls, config)).environ)
        now = environment()
        said["versions"] = {**now["packages"], "python": now["python"]}
        end = run_job(folder, late=0.0)
        said["why"] = end.why
        exit_code = int(end.code)
    except SuperTaskError as error:
        said["why"] = str(error)
    said["changed"] = changed_modules(code)
    (folder / SAID).write_text(json.dumps(said), "utf-8")
    return exit_code


def changed_modules(code: Path) -> list[str]:
    """Return the modules that were imported and are others than those that the capsule brings."""
    found = []
    for path in sorted(code.rglob("*.py")):
        parts = path.relative_to(code).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        ran = getattr(sys.modules.get(name), "__file__", None)
        if ran is not None and not _same(Path(ran), path):
            found.append(name)
    return found


def _same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
