from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ISR = ROOT / "examples" / "isr" / "pipeline.yaml"

FILE = """\
# Of the spring.
parameters:
  gain: 2.0
imports:
  - examples.isr:pipeline.yaml
tasks:
  isr:
    config: {}  # as it comes
subsets:
  masters: [bias, dark, flat]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "spring.yaml"
    path.write_text(FILE)
    return path


def test_a_good_pipeline_is_said_to_be(call):
    said = call("pipeline", "check", ISR, "--unit-model", "imaging")
    assert said.code == 0
    assert "is good: 4 tasks, 6 dataset types, 0 contracts" in said.out


def test_a_bad_pipeline_is_bad_input(call, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("taks: {}\n")
    said = call("pipeline", "check", path)
    assert said.code == 2
    assert "unknown key 'taks' (did you mean 'tasks'?)" in said.err


@pytest.mark.parametrize("command", ["show", "graph"])
def test_tasks_and_dataset_types_are_drawn_with_their_units(call, command):
    mermaid = call("pipeline", command, ISR, "--as", "mermaid").out
    assert mermaid.startswith("flowchart TD\n")
    assert '["isr<br>exposure, detector"]' in mermaid
    dot = call("pipeline", command, ISR, "--as", "dot").out
    assert '"raw" -> "task:isr";' in dot
    assert '"task:isr" -> "isr_image";' in dot


def test_shown_a_pipeline_is_drawn_first_and_told_in_tables_after(call):
    lines = call("pipeline", "show", ISR).out.splitlines()
    drawn = call("pipeline", "graph", ISR).out.splitlines()
    assert lines[2 : 2 + len(drawn)] == drawn
    assert lines.index("4 tasks:") > len(drawn)
    assert "leave out --values" in call("pipeline", "show", ISR, "--as", "dot", "--values").err
    assert call("pipeline", "show", ISR, "--as", "svg").code == 2


def test_a_graph_in_the_terminal_has_a_column_for_what_is_read_later(call):
    lines = call("pipeline", "graph", ISR).out.splitlines()
    assert lines[0] == "○ camera (instrument)"
    assert "●●━■ bias (detector)" in lines
    assert lines[-1] == "○ isr_image (exposure, detector)"


def test_docs_are_written_from_what_configs_say_of_themselves(call, tmp_path, file):
    said = call("pipeline", "docs", file, "-o", tmp_path / "page.md")
    assert said.code == 0
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# spring\n")
    assert "## isr\n" in page
    assert "| `isr_image` | `isr_image` | output | exposure, detector | fits_image |" in page
    assert "| `gain` | float | `2.0` |" in page


def test_docs_tell_of_policies_once_and_where_they_are_another(call, file):
    page = call(
        "pipeline", "docs", file, "-c", "isr:policy.timeout=60", "-c", "isr{band = 'r'}:flat_minimum=0.3"
    ).out
    assert "| `policy.timeout` | a float or None, s | `None` | `60.0` |" in page
    assert page.count("| `policy.memory` |") == 1
    assert "For some data it is otherwise:" in page


def test_a_part_of_a_pipeline_is_named_by_its_subset(call, file):
    assert "3 tasks" in call("pipeline", "check", f"{file}#masters").out


def test_expanded_a_pipeline_imports_nothing(call, file):
    out = call("pipeline", "expand", file).out
    assert "imports:" not in out
    assert "class: examples.isr.tasks:IsrTask" in out


def test_two_pipelines_are_compared(call, file):
    assert call("pipeline", "diff", ISR, ISR).out == "no differences\n"
    rows = [
        json.loads(x) for x in call("pipeline", "diff", file, f"{file}#masters", "--json").out.splitlines()
    ]
    assert rows == [{"task": "isr", "field": "", "here": "examples.isr.tasks:IsrTask", "there": "(none)"}]


def test_the_schema_is_shown(call):
    assert json.loads(call("pipeline", "schema").out)["title"] == "SuperTask pipeline"


def test_config_set_keeps_comments_and_history_tells_of_it(call, file):
    said = call("config", "set", file, "isr:isr_image=reduced", "parameters:gain=3")
    assert said.code == 0, said.err
    text = file.read_text()
    assert text.startswith("# Of the spring.\nparameters:\n  gain: 3.0\n")
    assert "# as it comes" in text
    rows = call("config", "history", file, "isr", "--json").rows
    assert [(r["field"], r["value"]) for r in rows] == [("isr_image", "isr_image"), ("isr_image", "reduced")]
    assert rows[-1]["set by"].startswith(f"{file}:9:")
    assert "isr_image: reduced" in call("config", "show", file, "isr", "--changed").out
    diff = call("config", "diff", file, "--json").rows
    assert [(r["field"], r["here"], r["there"]) for r in diff] == [("isr_image", "reduced", "isr_image")]


def test_a_value_that_is_not_allowed_is_not_set(call, file):
    before = file.read_text()
    said = call("config", "set", file, "isr:nothing=3")
    assert said.code == 2
    assert "no such field" in said.err
    assert file.read_text() == before


def test_conditions_of_overrides_are_named_with_all_else_that_is_wrong(call, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "imports: ['examples.isr:pipeline.yaml']\n"
        "tasks:\n"
        "  isr:\n"
        "    overrides:\n"
        "      - {when: 'detector =', drop: true}\n"
        "      - {when: {detecter: 1}, drop: true}\n"
        "      - {when: {detector: one}, drop: true}\n"
        "contracts: [isr.electrons == false]\n"
    )
    said = call("pipeline", "check", path, "--unit-model", "imaging")
    assert said.code == 2
    assert "4 problems" in said.err
    for place in ("5:9", "6:9", "7:9", "8:13"):
        assert said.err.count(f"p.yaml:{place}: ") == 1


def test_a_part_of_a_file_is_set_in_the_file_or_written_elsewhere(call, file, tmp_path):
    said = call("config", "set", f"{file}#masters", "bias:policy.timeout=3")
    assert said.code == 2
    assert "is a part of a file" in said.err
    assert not Path(f"{file}#masters").exists()
    assert (
        call("config", "set", f"{file}#masters", "bias:policy.timeout=3", "-o", tmp_path / "m.yaml").code == 0
    )
    assert "3 tasks" in call("pipeline", "check", tmp_path / "m.yaml").out
