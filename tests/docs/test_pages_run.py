"""Every page's code runs, in order, in a folder of its own.

A page's fenced blocks are read like this:

- any block with ``title="NAME"`` is written to the file NAME;
- ``python`` blocks without a title are run; those with nothing but prose between them are one script;
- ``console`` blocks: each line that begins with ``$ `` is run, and must succeed. Lines without ``$`` show
  what comes out and are not compared.
- A block after the comment ``<!-- not run -->`` is left alone.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from executors.cmdline.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(
    r"(?P<skip><!-- not run -->\n+)?^```(?P<language>\w+)(?P<rest>[^\n]*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PROGRAMS = {"supertask": [sys.executable, "-m", "executors.cmdline"], "python": [sys.executable]}


def steps(text: str):
    """Yield ``("write", name, text)``, ``("python", "", code)`` and ``("console", "", command)``."""
    script: list[str] = []
    for block in BLOCK.finditer(text):
        title = re.search(r'title="([^"]+)"', block["rest"])
        if block["skip"]:
            continue
        if title:
            yield "write", title[1], block["code"]
        elif block["language"] == "python":
            script.append(block["code"])
        elif block["language"] == "console":
            if script:
                yield "python", "", "\n".join(script)
                script = []
            for line in block["code"].replace("\\\n", " ").splitlines():
                if line.startswith("$ "):
                    yield "console", "", line[2:]
    if script:
        yield "python", "", "\n".join(script)


def runnable(page: Path) -> bool:
    return any(kind != "write" for kind, _, _ in steps(page.read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_page_runs_as_it_is_written(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    for kind, name, text in steps(page.read_text(encoding="utf-8")):
        if kind == "write":
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            continue
        if kind == "python":
            (tmp_path / "_page.py").write_text(text, encoding="utf-8")
            command = [sys.executable, "_page.py"]
        else:
            first, *rest = shlex.split(text, comments=True)
            command = [*PROGRAMS.get(first, [first]), *rest]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def links(page: Path):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    assert not [target for target in links(page) if not (page.parent / target).exists()]


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(p.relative_to(ROOT / "docs")) for p in PAGES if p.is_relative_to(ROOT / "docs")]
    assert not [page for page in pages if page not in navigation]


def test_every_command_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"| `{name}" not in page]
