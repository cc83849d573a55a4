"""Cached methods of tasks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from supertask import Config, Task, cache, field
from supertask.errors import ConfigError, StorageError
from supertask.tasks.caching import clear_cache
from supertask.tasks.calls import Call, opened_call

CALLS: list[str] = []


class TermsConfig(Config):
    order: int = field(2, doc="Order.")
    verbose: bool = field(False, doc="Talk.", meta=True)


class TermsTask(Task):
    ConfigClass = TermsConfig
    _DefaultName = "terms"

    @cache()
    def weights(self, n: int, scale: float = 1.0) -> np.ndarray:
        CALLS.append("weights")
        return np.arange(n) * scale + self.config.order

    @cache("json")
    def summary(self, words):
        CALLS.append("summary")
        return {"words": list(words)}

    @cache("numpy", size="3 kB")
    def big(self, n: int):
        return np.full(125, n, dtype=float)

    @cache()
    def slow(self, marks: str) -> dict:
        with open(marks, "a") as file:
            file.write("x")
        time.sleep(0.5)
        return {"pid": os.getpid()}

    @cache()
    def deadly(self, marks: str) -> dict:
        first = not Path(marks).exists()
        Path(marks).touch()
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"lived": True}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path):
    CALLS.clear()
    folder = tmp_path / "cache"
    with opened_call(Call(lambda: tmp_path, cache=folder)):
        yield folder


def in_process(method: str, folder: str, *arguments: object) -> None:
    with opened_call(Call(lambda: Path(folder), cache=Path(folder))):
        getattr(TermsTask(), method)(*arguments)


def test_what_was_computed_is_read_the_next_time_by_whatever_spelling() -> None:
    first = TermsTask().weights(3)
    again = TermsTask().weights(n=3, scale=1.0)
    assert CALLS == ["weights"]
    assert np.array_equal(first, again)


def test_another_configuration_argument_or_version_is_computed_anew_and_meta_is_not() -> None:
    TermsTask().weights(3)
    TermsTask(TermsConfig(verbose=True)).weights(3)
    assert len(CALLS) == 1
    TermsTask(TermsConfig(order=3)).weights(3)
    TermsTask().weights(4)
    TermsTask().weights(3, 1)  # an int is not the float
    assert len(CALLS) == 4

    class Newer(TermsTask):
        version = "2"

    Newer().weights(3)
    assert len(CALLS) == 5


def test_no_file_is_a_pickle(kept: Path) -> None:
    TermsTask().weights(3)
    TermsTask().summary(("a", "b"))
    suffixes = {p.suffix for p in kept.rglob("*") if p.is_file()}
    assert suffixes == {".npy", ".json", ".lock"}


def test_first_and_later_calls_give_the_same_types() -> None:
    assert TermsTask().summary(("a",)) == TermsTask().summary(("a",)) == {"words": ["a"]}


def test_a_damaged_file_is_computed_anew(kept: Path) -> None:
    TermsTask().weights(3)
    (path,) = kept.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:-5])
    assert np.array_equal(TermsTask().weights(3), [2, 3, 4])
    assert len(CALLS) == 2


def test_what_was_not_used_for_longest_makes_room(kept: Path) -> None:
    task = TermsTask()
    for n in range(5):
        task.big(n)
        time.sleep(0.01)
        task.big(0)
        time.sleep(0.01)
    sizes = [p.stat().st_size for p in kept.rglob("*.npy")]
    assert sum(sizes) <= 3000
    assert {int(np.load(p)[0]) for p in kept.rglob("*.npy")} == {0, 4}


def test_processes_that_want_the_same_wait_for_one(kept: Path, tmp_path: Path) -> None:
    marks = str(tmp_path / "marks")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=in_process, args=("slow", str(kept), marks)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert Path(marks).read_text() == "x"


def test_who_is_killed_while_computing_leaves_no_result_and_no_lock(kept: Path, tmp_path: Path) -> None:
    marks = str(tmp_path / "marks")
    worker = multiprocessing.get_context("spawn").Process(
        target=in_process, args=("deadly", str(kept), marks)
    )
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    assert TermsTask().deadly(marks) == {"lived": True}


def test_an_exception_leaves_nothing(kept: Path) -> None:
    with pytest.raises(TypeError):
        TermsTask().weights(3, "wrong")
    assert not list(kept.rglob("*.npy"))


def test_clearing_deletes_results_that_nobody_computes(kept: Path) -> None:
    TermsTask().weights(3)
    TermsTask().weights(4)
    assert clear_cache(kept) == 2
    assert not list(kept.rglob("*.npy"))


def test_a_result_of_the_wrong_kind_and_a_missing_annotation_are_refused() -> None:
    class Wrong(TermsTask):
        @cache("numpy")
        def objects(self):
            return object()

    with pytest.raises(StorageError):
        Wrong().objects()
    with pytest.raises(ConfigError, match="name a storage format"):
        cache()(lambda self: 1)
    with pytest.raises(StorageError, match="did you mean"):
        cache("nunpy")(lambda self: 1)


def test_without_a_run_results_lie_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supertask.tasks.calls import current_call

    monkeypatch.setenv("SUPERTASK_CACHE", str(tmp_path / "mine"))
    with opened_call(Call(current_call().find_folder)):
        TermsTask().weights(3)
    assert list((tmp_path / "mine").rglob("*.npy"))
