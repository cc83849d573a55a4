"""Engines by name, and what is said where one cannot be had."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from executors import InProcessFramework
from executors.cmdline.run import command
from executors.engines import EngineOptions, find_engine, known_engines, make_framework
from executors.slurm.framework import SlurmFramework
from supertask.errors import ConfigError, ExecutionError


class Elsewhere(InProcessFramework):
    """An engine of another package."""

    @classmethod
    def from_options(cls, options):
        made = cls()
        made.slots = options.slots
        return made


@pytest.fixture
def offered(monkeypatch):
    """Entry points of other packages."""
    found = []

    def entry_points(*, group, name=None):
        return [e for e in found if e.group == group and name in {None, e.name}]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)

    def offer(name, value):
        found.append(importlib.metadata.EntryPoint(name, value, "supertask.frameworks"))

    return offer


def test_an_engine_is_made_from_options(tmp_path):
    (tmp_path / "site.yaml").write_text("partition: long\n")
    made = make_framework(EngineOptions(engine="slurm", site=tmp_path / "site.yaml", slots=7))
    assert isinstance(made, SlurmFramework)
    assert (made.site.partition, made.slots) == ("long", 7)


def test_an_engine_of_another_package_is_found_by_its_entry_point(offered):
    offered("elsewhere", f"{__name__}:Elsewhere")
    assert "elsewhere" in known_engines()
    assert make_framework(EngineOptions(engine="elsewhere", slots=3)).slots == 3


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("executors.outcome:Attempt", "is no subclass of ExecutionFramework"),
        ("nowhere_at_all:Engine", "cannot be imported"),
        ("executors.outcome:Nothing", "cannot be imported"),
    ],
)
def test_what_is_no_engine_is_said(offered, value, said):
    offered("broken", value)
    with pytest.raises(ExecutionError, match=said):
        find_engine("broken")


def test_an_engine_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "parsl", None)
    with pytest.raises(ExecutionError, match=r"needs the package 'parsl'.*pip install 'supertask\[parsl\]'"):
        find_engine("parsl")


def test_pilots_are_for_engines_that_have_them():
    with pytest.raises(ConfigError, match="'condor' has no pilots"):
        make_framework(EngineOptions(engine="condor", pilots=2))


def test_an_engine_without_options_is_said(offered):
    offered("bare", "executors.inprocess:InProcessFramework")
    with pytest.raises(ConfigError, match="has no from_options"):
        make_framework(EngineOptions(engine="bare"))


def test_a_misspelt_engine_on_the_command_line(tmp_path: Path):
    said = CliRunner().invoke(command, [str(tmp_path / "plan.h5"), "--engine", "slrum"])
    assert isinstance(said.exception, ExecutionError)
    assert "did you mean 'slurm'" in str(said.exception)
