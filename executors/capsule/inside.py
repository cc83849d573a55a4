"""The process that a capsule's quantum runs in: ``python -P -m executors.capsule.inside FOLDER CODE HERE``.

Code that is installed, or in the folder that the user is in (HERE), comes before what the capsule brings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from executors.jobs.bundlefile import read_bundle
from executors.jobs.folder import ExitCode, JobFolder
from executors.jobs.running import run_job
from executors.resources import environment
from supertask.classpath import load_class
from supertask.errors import SuperTaskError
from supertask.sources import source_hash
from supertask.supertask import SuperTask

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
        said["source"] = source_hash(cls, cls.ConfigClass.from_dict(variant.config, "the capsule"))
        now = environment()
        said["versions"] = {**now["packages"], "python": now["python"]}
        end = run_job(folder, late=0.0)
        said["why"] = end.why
        exit_code = int(end.code)
    except SuperTaskError as error:
        said["why"] = str(error)
    (folder / SAID).write_text(json.dumps(said), "utf-8")
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
