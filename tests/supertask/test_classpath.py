from __future__ import annotations

import sys

import pytest

from supertask.classpath import ClassPathError, class_path, load_class
from supertask.configs.config import Config
from supertask.connections.fields import SuperTaskConfig


def test_a_class_is_found_by_its_path():
    assert class_path(SuperTaskConfig) == "supertask.connections.fields:SuperTaskConfig"
    assert load_class("supertask.connections.fields:SuperTaskConfig", Config) is SuperTaskConfig
    assert load_class("supertask.connections.fields.SuperTaskConfig") is SuperTaskConfig


@pytest.fixture
def broken_module(tmp_path, monkeypatch):
    (tmp_path / "broken_module_of_test.py").write_text("1 / 0")
    (tmp_path / "needs_missing_of_test.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("broken_module_of_test", None)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere_at_all:Task", "there is no module 'nowhere_at_all'; is its package installed"),
        ("needs_missing_of_test:Task", "there is no module 'not_installed_anywhere'"),
        ("broken_module_of_test:Task", "raises ZeroDivisionError: division by zero"),
        (
            "supertask.connections.fields:SuperTaskConfg",
            r"has no class 'SuperTaskConfg' \(did you mean 'SuperTaskConfig'\?\)",
        ),
        (
            "supertask.connections.fields:SuperTaskConfig.Inner",
            "'supertask.connections.fields.SuperTaskConfig' has no class 'Inner'",
        ),
        ("supertask.connections.fields:attrs", "is no class but <module 'attrs'"),
        ("supertask.dataids:DataId", "is no Config: it derives from Mapping"),
        ("Task", "is no path of a class"),
        ("a.b:", "is no path of a class"),
        ("os; import sys:X", "is no path of a class"),
        ("tests.x:f.<locals>.Task", "not inside a function"),
    ],
)
def test_what_names_no_such_class_is_refused(broken_module, path, message):
    with pytest.raises(ClassPathError, match=message):
        load_class(path, Config)
