from __future__ import annotations

import subprocess
import sys

import pytest

import supertask
import supertask.testing


@pytest.mark.parametrize("name", supertask.__all__)
def test_everything_offered_at_the_root_is_there(name):
    assert getattr(supertask, name) is not None


def test_what_the_root_offers_is_sorted_and_known_to_dir():
    assert supertask.__all__ == sorted(supertask.__all__)
    assert set(supertask.__all__) <= set(dir(supertask))


@pytest.mark.parametrize("module", [supertask, supertask.testing])
def test_what_is_not_offered_is_missed_as_usual(module):
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        module.Nothing  # noqa: B018


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_importing_the_root_imports_nothing_heavy():
    heavy = "{'numpy', 'astropy', 'sqlalchemy', 'shapely', 'h5py', 'yaml', 'lark', 'rich'}"
    assert run(f"import sys, supertask; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_writing_a_task_does_not_load_a_repositorys_libraries():
    heavy = "{'astropy', 'sqlalchemy', 'shapely', 'h5py', 'lark', 'rich', 'matplotlib', 'pyarrow'}"
    code = "from supertask import Config, InputField, NoWork, Pipeline, Quantum, Struct, SuperTask, field"
    assert run(f"import sys\n{code}\nprint(sorted({heavy} & set(sys.modules)))") == "[]"
