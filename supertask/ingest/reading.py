"""Reading many files, in this process or in warm ones; none can hinder another.

A file that kills the process that reads it (libraries in C do that) is found out and blamed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

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
    pool = partial(_in_pool, translator=translator, model=model, report=report, total=len(paths))
    answers: dict[str, ReadFile] = {}
    suspects: list[str] = []
    while chunks:
        chunks, died = pool(chunks, answers, processes=processes, in_flight=2 * processes)
        suspects += died
    # Files that were under way when a process died are read again one by one, to see which it was.
    chunks = [[path] for path in suspects]
    while chunks:
        chunks, died = pool(chunks, answers, processes=1, in_flight=1)
        answers.update((path, ReadFile(path, problem="the process that read it died")) for path in died)
    report("read", len(paths), len(paths))
    return [answers[path] for path in paths]


def _tell_nobody(stage: str, done: int, total: int) -> None:
    """Take the place of a progress callback that is not given."""


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold Ctrl-C back, also from processes that are started meanwhile, until these are ready for it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_in_silence() -> None:
    """Let Ctrl-C end this process without a traceback; its parent says what is to be said."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _in_pool(
    chunks: Sequence[Sequence[str]],
    answers: dict[str, ReadFile],
    *,
    translator: Translator,
    model: UnitModel,
    processes: int,
    in_flight: int,
    report: Progress,
    total: int,
) -> tuple[list[Sequence[str]], list[str]]:
    """Read chunks until all are read or a process dies; return those not begun, and files under way."""
    todo = list(reversed(chunks))
    running: dict[Future[list[ReadFile]], Sequence[str]] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(chunks)), spawn, _end_in_silence) as pool:
        try:
            with _undisturbed():
                first = pool.submit(os.getpid)
            first.result()
        except BrokenProcessPool:
            raise IngestError(
                "processes cannot be started here: guard the script with if __name__ == '__main__', "
                "or ingest with processes=1"
            ) from None
        try:
            while todo or running:
                # Few are in flight, so that a dying process leaves few under suspicion.
                while todo and len(running) < in_flight:
                    with _undisturbed():
                        running[pool.submit(_read_chunk, todo[-1], translator, model)] = todo[-1]
                    todo.pop()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    answers.update((r.path, r) for r in future.result())
                    del running[future]
                    report("read", len(answers), total)
        except BrokenProcessPool:
            pass
    under_way = [path for chunk in running.values() for path in chunk]
    return list(reversed(todo)), under_way
