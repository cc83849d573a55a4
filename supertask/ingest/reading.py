"""Reading many files, in this process or in warm ones; none can hinder another.

A file that kills the process that reads it (libraries in C do that) is found out and blamed.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import attrs

from supertask.errors import IngestError, SuperTaskError
from supertask.ingest.fitsfile import FitsFile, read_fits
from supertask.ingest.frames import Frame, Translator
from supertask.sky.footprint import footprint_of_file, footprint_of_header
from supertask.units import UnitModel

__all__ = ["Progress", "ReadFile", "read_file", "read_files"]

Progress = Callable[[str, int, int], None]
"""Called with the stage (``read``, ``register``), how many files are done, and of how many."""

_WORTH_A_POOL = 400
_CHUNK = 32


@attrs.frozen
class ReadFile:
    """What came of reading one file."""

    path: str
    size: int = 0
    checksum: str = ""
    frames: tuple[Frame, ...] = ()
    footprints: tuple[tuple[float, ...] | None, ...] = ()
    """For each frame its outline on the sky, ra and dec in turn, degrees; None if it has no WCS."""
    problem: str = ""
    """Why it is refused; empty if it is not."""
    warning: str = ""


def read_file(path: str, translator: Translator, model: UnitModel) -> ReadFile:
    """Read one file; what is wrong with it is in the answer, never raised."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return ReadFile(path, problem="its name is not valid UTF-8, so it cannot be registered: rename it")
    try:
        file = read_fits(path, ignore_cards=tuple(translator.ignore_cards))
        frames = tuple(translator.frames(file, model))
        if not frames:
            return ReadFile(path, file.size, file.checksum)
        outlines, warning = _footprints(file, frames, model)
    except SuperTaskError as error:
        return ReadFile(path, problem=str(error))
    except Exception as error:  # noqa: BLE001 - a translator is anybody's code; its bug refuses the file alone
        return ReadFile(
            path, problem=f"translator {translator.name!r} fails: {type(error).__name__}: {error}"
        )
    return ReadFile(path, file.size, file.checksum, frames, outlines, "", warning)


def _footprints(
    file: FitsFile, frames: Sequence[Frame], model: UnitModel
) -> tuple[tuple[tuple[float, ...] | None, ...], str]:
    spatial = [r.left for r in model.relations if r.kind.value == "spatial"]
    found: list[tuple[float, ...] | None] = []
    warning = ""
    for frame in frames:
        outline = None
        on_sky = any(all(frame.values.get(u) is not None for u in left) for left in spatial)
        hdu = file.hdus[frame.hdu]
        if on_sky and frame.wcs != "none" and len(hdu.shape) >= 2:
            try:
                if frame.wcs == "header":
                    outline = footprint_of_header(hdu.header, hdu.shape)
                elif os.path.exists(frame.wcs):
                    outline = footprint_of_file(frame.wcs, hdu.shape)
                else:
                    warning = f"no footprint: there is no {frame.wcs}"
            except SuperTaskError as error:
                warning = f"no footprint: {error}"
        found.append(outline)
    return tuple(found), warning


def _read_chunk(paths: Sequence[str], translator: Translator, model: UnitModel) -> list[ReadFile]:
    return [read_file(path, translator, model) for path in paths]


def read_files(
    paths: Sequence[str],
    translator: Translator,
    model: UnitModel,
    *,
    processes: int | None = None,
    progress: Progress | None = None,
) -> list[ReadFile]:
    """Read files, and answer in their order.

    Parameters
    ----------
    paths : sequence of str
        The files.
    translator : Translator
        Says what they hold.
    model : UnitModel
        Of the repository.
    processes : int, optional
        How many processes read; unless given, one for each CPU if there are files enough to be
        worth it. With 1, this process reads.
    progress : callable, optional
        Told how far it is.
    """
    if processes is None:
        processes = 1 if len(paths) < _WORTH_A_POOL else len(os.sched_getaffinity(0))
    if processes < 1:
        raise IngestError(f"processes must be 1 or more, and is {processes}")
    report = progress or _tell_nobody
    if processes == 1:
        found = []
        for path in paths:
            found.append(read_file(path, translator, model))
            report("read", len(found), len(paths))
        return found
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    answers, unread = _in_pool(chunks, translator, model, min(processes, len(chunks)), report)
    # A process died. Files that were under way are read again, each alone, to see which it was.
    for path in unread:
        one, died = _in_pool([[path]], translator, model, 1, report)
        answers.update(one)
        for victim in died:
            answers[victim] = ReadFile(victim, problem="the process that read it died")
    report("read", len(paths), len(paths))
    return [answers[path] for path in paths]


def _tell_nobody(stage: str, done: int, total: int) -> None:
    """Take the place of a progress callback that is not given."""


def _in_pool(
    chunks: Sequence[Sequence[str]],
    translator: Translator,
    model: UnitModel,
    processes: int,
    report: Progress,
) -> tuple[dict[str, ReadFile], list[str]]:
    """Read chunks in a pool; return answers, and the files that a dying process left unread."""
    total = sum(len(c) for c in chunks)
    answers: dict[str, ReadFile] = {}
    todo = list(reversed(chunks))
    running: dict[Future[list[ReadFile]], Sequence[str]] = {}
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            pool.submit(os.getpid).result()
        except BrokenProcessPool:
            raise IngestError(
                "processes cannot be started here: guard the script with if __name__ == '__main__', "
                "or ingest with processes=1"
            ) from None
        try:
            while todo or running:
                # Few are in flight, so that a dying process leaves few under suspicion.
                while todo and len(running) < 2 * processes:
                    chunk = todo.pop()
                    running[pool.submit(_read_chunk, chunk, translator, model)] = chunk
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    read = future.result()
                    del running[future]
                    answers.update((r.path, r) for r in read)
                    report("read", len(answers), total)
        except BrokenProcessPool:
            unread = [path for chunk in running.values() for path in chunk if path not in answers]
        else:
            return answers, []
    if len(chunks) == 1 and len(chunks[0]) == 1:
        return answers, unread
    rest, died = _in_pool(todo, translator, model, processes, report) if todo else ({}, [])
    return answers | rest, unread + died
