"""Identities are those of every process, locale, folder and Python; what they were is kept in a file.

If one changes on purpose, every identity in every repository changes: bump the version of the encoding.
Other Pythons are looked for on the path, among pyenv's, and in $SUPERTASK_PYTHONS (paths with ``:`` between);
those that have no numpy are asked for plain values and configurations alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.supertask import golden

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text("utf-8"))
_OLDEST = (3, 11)


def _candidates():
    yield from os.environ.get("SUPERTASK_PYTHONS", "").split(os.pathsep)
    yield from (shutil.which(f"python3.{minor}") or "" for minor in range(_OLDEST[1], 20))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(map(str, pyenv.glob("versions/3.*/bin/python")))


def _version(python):
    said = subprocess.run([python, "--version"], check=False, capture_output=True, text=True).stdout
    found = re.match(r"Python (\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else (0, 0)


def others():
    """Return other Pythons by version, the first of each that runs."""
    found = {}
    for python in filter(None, _candidates()):
        if Path(python).exists() and (version := _version(python)) >= _OLDEST:
            found.setdefault(version, python)
    found.pop(sys.version_info[:2], None)
    return found


def identities(python, folder, *, path=(), **env):
    """Ask another process for all identities that it can tell."""
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), *map(str, path)]), **env}
    done = subprocess.run(
        [python, "-c", "from tests.supertask.golden import main; main()"],
        check=False, capture_output=True, text=True, cwd=folder, env=known,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["identities"]


def test_identities_are_what_they_were():
    assert golden.everything() == GOLDEN


def test_different_things_have_different_identities():
    alike = [
        {"task: as it comes", "task: only meta changed"},
        {"value: path", "value: pure path"},
        {"value: true", "numpy: bool"},
        {"value: a tenth", "numpy: float64"},
    ]
    found = {}
    for name, digest in GOLDEN.items():
        found.setdefault(digest, set()).add(name)
    assert [names for names in found.values() if len(names) > 1 and names not in alike] == []


@pytest.mark.parametrize(
    ("seed", "env"),
    [("0", {"LC_ALL": "C", "PYTHONUTF8": "0"}), ("4242", {"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Tokyo"})],
)
def test_hash_seed_locale_and_folder_change_no_identity(tmp_path, seed, env):
    assert identities(sys.executable, tmp_path, PYTHONHASHSEED=seed, **env) == GOLDEN


def test_identities_are_the_same_under_other_pythons(tmp_path):
    pythons = others()
    if not pythons:
        pytest.skip(f"no other Python is found than {sys.version_info[0]}.{sys.version_info[1]}")
    for package in ("attr", "attrs", "yaml"):  # of plain Python: they serve any version
        where = find_spec(package).submodule_search_locations[0]
        (tmp_path / package).symlink_to(where)
    for version, python in pythons.items():
        found = identities(python, "/", path=[tmp_path], PYTHONHASHSEED="7", PYTHONDONTWRITEBYTECODE="1")
        assert len(found) >= len(golden.PLAIN)
        assert found == {name: GOLDEN[name] for name in found}, version
