"""Many processes that ingest, put and query one repository at once, and the reckoning after.

Half of what each does only it does; the other half all of them do, so that they meet on the same rows. Each
tells how often it was the one that made something new; the sums must be what the repository holds.
"""

from __future__ import annotations

import multiprocessing
import queue
import random
import time
from typing import Any

from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
from supertask.errors import DatasetExistsError, DatasetNotFoundError
from supertask.rows import FileRecord

__all__ = ["check_after", "work_at_once"]

_SHARED, _BATCH = "shared", 8
Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")
Own = Dataset.subclass("own", ("visit",), "json")
Seen = Dataset.subclass("seen", ("visit", "patch"), "json")


def work_at_once(root: str, *, processes: int, seconds: float) -> dict[str, int]:
    """Have processes at a repository that `fill_with_survey` filled; return the sums of what each made new.

    Raises
    ------
    RuntimeError
        One of them failed, or did not end; says how.
    """
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    workers = [
        context.Process(target=_work, args=(root, number, seconds, answers), daemon=True)
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        found = [answers.get(timeout=seconds + 240) for _ in workers]
    except queue.Empty:
        raise RuntimeError("some processes did not end: they wait for each other") from None
    finally:
        for worker in workers:
            worker.join(10)
            if worker.is_alive():
                worker.terminate()
    failed = [f for f in found if isinstance(f, str)]
    if failed:
        raise RuntimeError(f"{len(failed)} of {processes} processes failed: {failed[0]}")
    return {name: sum(f[name] for f in found) for name in found[0]}


def _work(root: str, number: int, seconds: float, answers: Any) -> None:
    try:
        answers.put(_rounds(root, number, seconds))
    except BaseException as error:
        answers.put(repr(error))
        raise


def _rounds(root: str, number: int, seconds: float) -> dict[str, int]:
    new = dict.fromkeys(("rounds", "visits", "relations", "registered", "put", "removed"), 0)
    # Not of the number alone: what all do must collide, in orders that differ.
    order = random.Random(number)  # noqa: S311 - a reproducible shuffle
    patch = {"skymap": "sky", "tract": 0, "patch": 1}
    end = time.monotonic() + seconds
    with Butler(root, run=_SHARED) as butler:
        while time.monotonic() < end:
            i = new["rounds"]
            shared = [1000 + i * _BATCH // 2 + k for k in range(_BATCH)]
            own = [10**6 * (number + 1) + i]
            visits = [{"instrument": "Cam", "visit": v, "physical_filter": "R1"} for v in shared + own]
            order.shuffle(visits)
            new["visits"] += butler.insert_units("visit", visits)
            rows = [
                {"instrument": "Cam", "visit": v["visit"], "detector": d, **patch}
                for v in visits
                for d in (0, 1)
            ]
            new["relations"] += butler.insert_relation("overlap", rows)
            new["registered"] += butler.register(_SHARED, _records(visits, i), skip_existing=True)
            new["put"] += _put(butler, Own(instrument="Cam", visit=own[0]))
            new["put"] += _put(butler, Own(instrument="Cam", visit=order.choice(shared)))
            if i % 5 == 4:
                new["removed"] += _remove(butler, Own(instrument="Cam", visit=own[0]))
            if i % 7 == number % 7:
                butler.create_collection(f"picked/{i}", CollectionKind.TAGGED)
                _put(butler, Own(instrument="Cam", visit=1), run=f"u/{number}/{i}")
                butler.tag(f"picked/{i}", [Own(instrument="Cam", visit=1)], run=f"u/{number}/{i}")
            mine = butler.query(Own, collections=[_SHARED], visit=own[0])
            assert len(mine) == (i % 5 != 4), f"{own[0]}: {mine}"
            with butler.reader(collections=[_SHARED]) as reader:
                before = len(reader.datasets(Own).ids)
                assert before == len(reader.datasets(Own).ids), "what a reader sees changes under it"
            new["rounds"] += 1
    return new


def _records(visits: list[dict[str, Any]], i: int) -> list[FileRecord]:
    """Return records of two types, one of which is new to the repository now and then."""
    kind = Dataset.subclass(f"kind_{i // 20}", ("visit",), "json")
    handles = [kind(instrument="Cam", visit=v["visit"]) for v in visits]
    handles += [Seen(instrument="Cam", visit=v["visit"], skymap="sky", tract=0, patch=0) for v in visits]
    return [FileRecord(h, f"/nowhere/{h}", 1, "", bytes(16)) for h in handles]


def _put(butler: Butler, dataset: Dataset, run: str = _SHARED) -> int:
    try:
        butler.put({"by": run}, dataset, run=run)
    except DatasetExistsError:
        return 0
    return 1


def _remove(butler: Butler, dataset: Dataset) -> int:
    try:
        return butler.remove([dataset], run=_SHARED)
    except DatasetNotFoundError:
        return 0


def check_after(butler: Butler, new: dict[str, int]) -> None:
    """Compare what is in the repository with what its processes say they made.

    Raises
    ------
    AssertionError
        Something was lost, or is there twice.
    """
    visits = butler.units("visit")
    assert len(visits) == new["visits"] + 6, "six were there before"
    assert len({v["visit"] for v in visits}) == len(visits), "a visit is there twice"
    with butler.reader(collections=[_SHARED]) as reader:
        columns = reader.relation("overlap").units
        rows = set(zip(*(c.tolist() for c in columns.values()), strict=True))
        assert len(rows) == len(columns["visit"]) == new["relations"] + 36
        registered = sum(
            len(reader.datasets(kind).ids)
            for name, kind in butler.dataset_types().items()
            if name.startswith("kind_") or name == "seen"
        )
        assert registered == new["registered"]
    own = butler.query(Own, collections=[_SHARED])
    assert len(own) == len(set(own)) == new["put"] - new["removed"]
    butler.collections = (_SHARED,)
    for dataset in own:
        butler.verify(dataset)
    assert not list(butler.datastore.temporary_files())
