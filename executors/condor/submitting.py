"""Submit descriptions, and the script that a machine runs: what HTCondor is told of jobs.

A cluster of jobs is one description with a list of folders beside it, ``queue folder from LIST``. Folders of
jobs are seen by machines under the same path, or HTCondor carries them: the whole folder there, and back what
is left in it when the job ends.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from executors.batch import Job
from executors.condor.site import CondorSite, quoted
from executors.jobs.folder import write_whole
from supertask.errors import ExecutionError

__all__ = ["ARRAY", "describe", "refuse_odd", "write_script"]

ARRAY = "SuperTaskArray"
"""Attribute by which jobs are found in the queue."""
_ODD = ("'", '"', "$(", "$$", "\n", ",")

_CARRIED = """\
{command} &
job=$!
trap 'kill -TERM "$job"' TERM INT
wait "$job"
code=$?
# A signal ends the wait, and not yet the job.
while kill -0 "$job" 2>/dev/null; do wait "$job"; code=$?; done
rm -rf "$1/in"  # inputs need not travel back
exit "$code"
"""


def refuse_odd(paths: Iterable[Path]) -> None:
    """Refuse paths that mean something else in a submit description.

    Raises
    ------
    ExecutionError
        Names the first of them.
    """
    for path in paths:
        odd = [sign for sign in _ODD if sign in str(path)]
        if odd:
            raise ExecutionError(
                f"{path}: {odd[0]!r} means something else in HTCondor's submit descriptions; let jobs "
                "have their folders elsewhere (--jobs FOLDER)"
            )


def write_script(path: Path, job: Job, site: CondorSite, *, in_place: str = '"$1"') -> None:
    """Write what a machine runs; its first argument is the folder of the job.

    Parameters
    ----------
    path : Path
        Where.
    job : Job
        Any of those that are run by it: commands differ in the folder alone.
    site : CondorSite
        What the site wants.
    in_place : str, optional
        What stands where the folder does, in the language of the shell.

    Raises
    ------
    ExecutionError
        It cannot be written.
    """
    words = [in_place if word == str(job.folder) else shlex.quote(word) for word in job.command]
    run = " ".join(words)
    body = _CARRIED.format(command=run) if site.transfer else f"exec {run}\n"
    write_whole(path, "\n".join(["#!/bin/sh", *site.setup, body]).encode())
    path.chmod(0o755)


def describe(
    site: CondorSite,
    script: Path,
    *,
    folder: str,
    home: Path,
    log: Path,
    printed: str,
    asked: Sequence[str],
    inputs: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the lines of a submit description, but for ``queue``.

    Parameters
    ----------
    site : CondorSite
        What the site wants.
    script : Path
        What `write_script` wrote.
    folder : str
        The job's folder, as far as it is the same for all, with macros for the rest.
    home : Path
        The folder of this folder.
    log : Path
        Where HTCondor notes what happens.
    printed : str
        Where what the job prints goes, without suffix, with macros.
    asked : sequence of str
        Lines about what a job may use.
    inputs : sequence of str, optional
        What else is sent, where folders are carried.
    more : Mapping, optional
        Further attributes of the jobs.
    """
    name = folder.rpartition("/")[2]
    if site.transfer:
        run = [
            f"executable = {script}",
            "transfer_executable = True",
            f"arguments = {quoted([name])}",
            "should_transfer_files = YES",
            "when_to_transfer_output = ON_EXIT_OR_EVICT",
            f"transfer_input_files = {', '.join([folder, *inputs])}",
            f"transfer_output_files = {name}",
        ]
    else:
        run = [
            "executable = /bin/sh",
            "transfer_executable = False",
            f"arguments = {quoted([str(script), folder])}",
            "should_transfer_files = NO",
        ]
    return [
        "universe = vanilla",
        *run,
        f"initialdir = {home}",
        f"output = {printed}.out",
        f"error = {printed}.err",
        f"log = {log}",
        *asked,
        *site.lines(),
        *(f"My.{name} = {value}" for name, value in (more or {}).items()),
    ]
