"""The house keeps its rules: floors, rooms, names and sizes.

The import rules stand in `pyproject.toml` and are run here; the rest is what import-linter has no
words for. Imports under TYPE_CHECKING and inside functions count.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import grimp
import pytest
from importlinter import cli

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("supertask", "graphbuilder", "executors")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph(*FLOORS, include_external_packages=True, cache_dir=None)


def source_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_import_contracts_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    code = cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == cli.EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_nothing_imports_a_package_that_it_lies_in() -> None:
    graph = import_graph()
    loops = [
        f"{importer} imports {imported}"
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if importer.startswith(f"{imported}.")
    ]
    assert not loops


def test_executors_know_of_the_planner_only_the_plan() -> None:
    """A plan runs where it was not built; the command line and what tests a framework see everything."""
    graph = import_graph()
    strays = [
        f"{importer} imports {imported}"
        for importer in graph.modules
        if inside(importer, "executors")
        and not any(inside(importer, f"executors.{room}") for room in ("cmdline", "testing"))
        for imported in graph.find_modules_directly_imported_by(importer)
        if inside(imported, "graphbuilder") and not inside(imported, "graphbuilder.dag")
    ]
    assert not strays


def test_the_plan_does_not_know_its_planner() -> None:
    graph = import_graph()
    strays = [
        f"{importer} imports {imported}"
        for importer in graph.modules
        if inside(importer, "graphbuilder.dag")
        for imported in graph.find_modules_directly_imported_by(importer)
        if inside(imported, "graphbuilder") and not inside(imported, "graphbuilder.dag")
    ]
    assert not strays


# Distributions that are imported under another name.
IMPORTED_AS = {"pyyaml": "yaml", "astropy-healpix": "astropy_healpix"}


def declared(requirements: list[str]) -> set[str]:
    names = {re.match(r"[A-Za-z0-9_-]+", r).group().lower() for r in requirements}
    return {IMPORTED_AS.get(name, name) for name in names} - {"supertask"}


def test_every_third_party_import_is_a_declared_dependency_and_the_other_way_round() -> None:
    graph = import_graph()
    imported = {
        found
        for importer in graph.modules
        if importer.split(".")[0] in FLOORS
        for found in graph.find_modules_directly_imported_by(importer)
        if found.split(".")[0] not in FLOORS and found not in sys.stdlib_module_names
    } - {"examples"}
    core = declared(PROJECT["project"]["dependencies"])
    extras = PROJECT["project"]["optional-dependencies"]
    optional = set().union(
        *(declared(extra) for name, extra in extras.items() if name not in {"dev", "docs"})
    )
    assert imported <= core | optional, "imported but not declared"
    assert core <= imported, "declared but not imported"


BANNED_ROOMS = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base2"}


def test_rooms_have_a_subject_and_are_small() -> None:
    files = source_files(*FLOORS)
    assert not [f.name for f in files if f.stem in BANNED_ROOMS]
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in files}
    assert not {name: n for name, n in lengths.items() if n > 500}


def test_no_code_is_made_from_text_or_from_pickles() -> None:
    found = []
    for path in source_files(*FLOORS):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"eval", "exec"}
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} calls {node.func.id}")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"pickle.load", "pickle.dump"}:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} keeps a pickle file")
            if (
                isinstance(node, ast.keyword)
                and node.arg == "shell"
                and getattr(node.value, "value", None) is True
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.value.lineno} uses a shell")
    assert not found


def all_of(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
            return ast.literal_eval(node.value)
    return None


def test_every_module_states_what_it_offers_and_says_what_it_is_for() -> None:
    wrong = []
    for path in source_files(*FLOORS):
        tree = ast.parse(path.read_text())
        name = str(path.relative_to(ROOT))
        offered = all_of(tree)
        if ast.get_docstring(tree) is None:
            wrong.append(f"{name} has no docstring")
        says_nothing = len(tree.body) <= 2 and path.stem == "__init__"
        if path.stem == "__main__" or says_nothing:
            continue
        if offered is None:
            wrong.append(f"{name} has no __all__")
    assert not wrong


def test_importing_the_roots_brings_in_nothing_heavy() -> None:
    heavy = [
        "astropy",
        "click",
        "h5py",
        "lark",
        "matplotlib",
        "networkx",
        "pyarrow",
        "rich",
        "shapely",
        "sqlalchemy",
    ]
    script = (
        f"import sys, supertask, graphbuilder, executors\nprint([m for m in {heavy!r} if m in sys.modules])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
