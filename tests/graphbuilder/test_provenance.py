from __future__ import annotations

import sys
from importlib import metadata

from graphbuilder.provenance import package_versions


def test_versions_are_those_that_pip_installed():
    found = package_versions({"hypothesis"})
    for name in ("supertask", "numpy", "h5py", "astropy", "sqlalchemy", "hypothesis"):
        assert found[name] == metadata.version(name)


def test_packages_that_are_not_loaded_are_looked_for_in_the_folders_of_modules_first_ones_first(
    tmp_path, monkeypatch
):
    for folder, entry in [
        ("a", "Package_of_Test-2.0.dist-info"),
        ("b", "package_of_test-1.0.dist-info"),
        ("b", "other_of_test-3.1-py3.12.egg-info"),
        ("b", "unstated_of_test.egg-info"),
    ]:
        (tmp_path / folder / entry).mkdir(parents=True)
    missing = str(tmp_path / "missing")
    monkeypatch.setattr(sys, "path", [missing, str(tmp_path / "a"), str(tmp_path / "b"), *sys.path])
    found = package_versions({"package_of_test", "other_of_test", "unstated_of_test", "never_of_test"})
    assert (found["package_of_test"], found["other_of_test"]) == ("2.0", "3.1")
    assert not {"unstated_of_test", "never_of_test"} & set(found)
