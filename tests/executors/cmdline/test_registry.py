from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from executors.cmdline.main import main
from supertask.butler.repository import Butler
from supertask.datasets import Dataset
from supertask.testing.butler import fill_with_survey

Raw = Dataset.subclass("raw", ("exposure", "detector"), "json")


@pytest.fixture
def repo(tmp_path):
    with Butler.create(
        tmp_path / "repo", registry=f"sqlite:{tmp_path / 'repo' / 'registry.sqlite3'}"
    ) as butler:
        fill_with_survey(butler)
        butler.put([1], Raw, instrument="Cam", exposure=101, detector=0, run="run")
    return tmp_path / "repo"


def supertask(*words):
    return main([str(w) for w in words])


def test_check_says_that_all_is_in_order(repo, capsys):
    assert supertask("registry", "check", repo, "--checksums") == 0
    assert capsys.readouterr().out == "1 dataset, 1 file: all in order\n"


def test_check_names_what_is_wrong_and_repairs_what_it_is_told_to(repo, capsys):
    file = next(repo.glob("run/raw/**/*.json"))
    stray = file.with_name("stray.json")
    file.rename(stray)
    os.utime(stray, (time.time() - 7200,) * 2)
    assert supertask("registry", "check", repo) == 1
    out = capsys.readouterr().out
    assert "missing file (1):" in out
    assert "unknown file (1):" in out
    assert "2 not in order, 0 repaired" in out
    assert supertask("registry", "check", repo, "--repair", "--json") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[-1] == {"datasets": 1, "files": 1, "found": 2, "left": 2}
    assert not any(r["repaired"] for r in rows[:-1])
    assert supertask("registry", "check", repo, "--forget-missing", "--delete-unknown") == 0
    assert "0 not in order, 2 repaired" in capsys.readouterr().out
    assert supertask("registry", "check", repo) == 0


def test_migrate_says_that_there_is_nothing_to_do(repo, capsys):
    assert supertask("registry", "migrate", repo) == 0
    assert "schema version 2 already" in capsys.readouterr().out


def test_copy_to_another_file_and_bad_input(repo, capsys):
    assert supertask("registry", "copy", repo, "--to", f"sqlite:{repo.parent / 'there.sqlite3'}") == 0
    assert "now uses sqlite:" in capsys.readouterr().out
    assert supertask("registry", "check", repo) == 0
    for words, said in (
        (("registry", "copy", repo, "--to", f"sqlite:{repo.parent / 'there.sqlite3'}"), "already"),
        (("registry", "copy", repo, "--to", "oracle://me:secret@host/db"), "only SQLite and PostgreSQL"),
        (("registry", "copy", repo, "--to", "postgresql://me:secret@127.0.0.1:1/db"), "no server answers"),
        (("registry", "check", repo.parent / "nothing"), "not a data repository"),
        (
            ("init", repo.parent / "new", "--registry", "postgresql://me:secret@127.0.0.1:1/db"),
            "no server answers",
        ),
    ):
        assert supertask(*words) == 2
        told = capsys.readouterr()
        assert said in told.err
        assert "secret" not in told.out + told.err
        assert "Traceback" not in told.err
    assert not Path(repo.parent, "new", "supertask.yaml").exists()
