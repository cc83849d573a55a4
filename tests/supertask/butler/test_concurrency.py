"""Eight processes at one repository, for a minute or $SUPERTASK_CONCURRENCY_SECONDS."""

from __future__ import annotations

import os

import pytest

from supertask.butler.port import CollectionKind
from supertask.butler.repository import Butler
from supertask.testing import concurrency
from supertask.testing.butler import fill_with_survey

SECONDS = float(os.environ.get("SUPERTASK_CONCURRENCY_SECONDS", "60"))


def work(butler, seconds):
    fill_with_survey(butler)
    butler.create_collection("shared", CollectionKind.RUN)
    new = concurrency.work_at_once(butler.root, processes=8, seconds=seconds)
    concurrency.check_after(butler, new)
    assert new["rounds"] > 8


@pytest.mark.engine
@pytest.mark.xdist_group("postgres")
@pytest.mark.slow
def test_eight_processes_at_once_lose_nothing_and_make_nothing_twice(postgres_server, new_repository):
    work(new_repository(postgres_server), SECONDS)


@pytest.mark.slow
def test_on_sqlite_they_wait_for_each_other_and_do_as_well(tmp_path):
    with Butler.create(tmp_path / "r") as butler:
        work(butler, SECONDS / 4)
