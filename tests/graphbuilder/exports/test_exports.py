"""Exported plans, run and read by the tools that they are for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from executors import InProcessFramework, QuantumStatus, status
from executors.cmdline.main import main
from executors.testing.survey import RUN, Survey
from graphbuilder import QuantumBatcher, ScienceDag
from graphbuilder.exports import cwl, makefile, snakemake
from graphbuilder.exports.nodes import Node, nodes_of
from supertask import Butler
from tests.conftest import DATA

ROOT = Path(__file__).parents[3]
TOOLS = Path(os.environ.get("SUPERTASK_TOOLS") or ROOT / ".venv-tools") / "bin"
PROGRAM = f"{sys.executable} -m executors.cmdline"
PATIENCE = 300

pytestmark = pytest.mark.xdist_group("exports")
slow = pytest.mark.slow


def tool(name):
    """Return the path of a tool; the test is skipped where it is not."""
    found = shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip(f"there is no {name}: `make tools` installs it, or SUPERTASK_TOOLS says where it is")
    return found


def run(words, folder, **env):
    places = [str(Path(sys.executable).parent), str(TOOLS), os.environ.get("PATH", "")]
    known = os.environ | {"PATH": os.pathsep.join(places), "PYTHONPATH": str(ROOT), "HOME": str(folder)} | env
    done = subprocess.run(
        words, cwd=folder, env=known, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "a survey's folder", visits=2)


@pytest.fixture
def plan(survey, tmp_path):
    with Butler(survey.root) as butler:
        QuantumBatcher(max_quanta=4).batch(survey.plan(butler)).save(tmp_path / "plan.h5")
    return str(tmp_path / "plan.h5")


@pytest.fixture
def undisturbed(tmp_path):
    survey = Survey(tmp_path / "undisturbed", visits=2)
    with Butler(survey.root) as butler:
        InProcessFramework().execute(survey.plan(butler), butler)
    return survey.outputs()


def exported(plan, form, folder):
    assert main(["export", plan, "--format", form, "-o", str(folder)]) == 0
    return folder


def is_whole(survey, undisturbed):
    """Check that a repository is as after a plain run: files, registered datasets, the journal."""
    assert survey.outputs() == undisturbed
    report = status(str(survey.root), RUN)
    assert report.exit_code == 0
    assert report.counts == {QuantumStatus.SUCCEEDED: survey.n_quanta}
    with Butler(survey.root, collections=[RUN]) as butler:
        assert butler.get("summary", instrument="Cam")["visits"] == 2


@slow
def test_make_runs_a_plan_and_the_repository_is_as_after_a_plain_run(plan, survey, undisturbed, tmp_path):
    folder = exported(plan, "makefile", tmp_path / "for make")
    code, said = run([tool("make"), "-j", "2", f"SUPERTASK={PROGRAM}"], folder)
    assert code == 0, said
    is_whole(survey, undisturbed)
    code, said = run([tool("make"), f"SUPERTASK={PROGRAM}"], folder)
    assert (code, "Nothing to be done" in said) == (0, True)


@slow
def test_make_goes_on_after_a_failure_and_runs_nothing_twice(plan, survey, undisturbed, tmp_path):
    survey.order("stars-0-0", "1 times raise")
    folder = exported(plan, "makefile", tmp_path / "make")
    words = [tool("make"), "--keep-going", f"SUPERTASK={PROGRAM}"]
    code, said = run(words, folder)
    assert code != 0, said
    code, said = run(words, folder)
    assert code == 0, said
    is_whole(survey, undisturbed)
    calls = survey.calls()
    assert len(calls) == survey.n_quanta + 1
    assert calls.count("stars-0-0") == 2


@slow
def test_snakemake_runs_a_plan_and_the_repository_is_as_after_a_plain_run(
    plan, survey, undisturbed, tmp_path
):
    snake = tool("snakemake")
    folder = exported(plan, "snakemake", tmp_path / "for snakemake")
    words = [snake, "--cores", "2", "--config", f"supertask={PROGRAM}"]
    code, said = run(words, folder)
    assert code == 0, said
    is_whole(survey, undisturbed)
    code, said = run([*words, "--dry-run"], folder)
    assert (code, "Nothing to be done" in said) == (0, True), said


@slow
def test_cwltool_finds_a_plan_valid_runs_it_and_the_repository_is_whole(plan, survey, undisturbed, tmp_path):
    cwltool = tool("cwltool")
    folder = exported(plan, "cwl", tmp_path / "cwl")
    code, said = run([cwltool, "--validate", "workflow.cwl"], folder)
    assert (code, "is valid CWL" in said) == (0, True), said
    words = [
        cwltool,
        "--preserve-environment",
        "PYTHONPATH",
        "--outdir",
        "out",
        "workflow.cwl",
        "inputs.json",
    ]
    code, said = run(words, folder)
    assert code == 0, said
    is_whole(survey, undisturbed)
    assert f"{survey.n_quanta} of {survey.n_quanta} quanta done" in (folder / "out" / "said.txt").read_text()


@slow
@pytest.mark.parametrize("whose", ["ours", "theirs"])
@pytest.mark.parametrize("bundles", [True, False])
def test_wfcommons_reads_a_plan_as_an_instance(bundles, whose, plan, survey, tmp_path):
    """By what we say that we write, and by the format's own schema where that is at hand."""
    python = Path(tool("wfchef")).with_name("python")
    schema = Path(__file__).with_name("wfformat-schema.json")
    if whose == "theirs":
        schema = DATA / "workflows" / "wfcommons-schema.json"
        if not schema.exists():
            pytest.skip(f"there is no {schema}")
    if not bundles:
        with Butler(survey.root) as butler:
            survey.plan(butler).save(plan)
    folder = exported(plan, "wfformat", tmp_path / "wf")
    program = (
        "import pathlib, sys; from wfcommons.wfinstances import Instance;"
        "i = Instance(pathlib.Path(sys.argv[1]), schema_file=pathlib.Path(sys.argv[2]));"
        "print('nodes', len(i.workflow.nodes), 'edges', len(i.workflow.edges))"
    )
    code, said = run([str(python), "-c", program, str(folder / "workflow.json"), str(schema)], tmp_path)
    assert code == 0, said
    dag = ScienceDag.load(plan)
    nodes = nodes_of(dag, dag.bundling())
    assert f"nodes {len(nodes)} edges {sum(len(node.after) for node in nodes)}" in said


def test_nodes_wait_for_those_that_hold_what_they_read(survey):
    with Butler(survey.root) as butler:
        dag = survey.plan(butler)
    bundling = QuantumBatcher(max_quanta=2).bundles(dag)
    nodes = nodes_of(dag, bundling)
    assert sum(node.quanta for node in nodes) == dag.n_quanta
    home = {int(q): node.number for node in nodes for q in bundling[node.number]}
    indptr, indices = dag.successors()
    wanted = {
        (home[int(c)], home[q])
        for q in range(dag.n_quanta)
        for c in indices[indptr[q] : indptr[q + 1]]
        if home[int(c)] != home[q]
    }
    assert {(node.number, p) for node in nodes for p in node.after} == wanted
    assert all(p < node.number for node in nodes for p in node.after)


def test_a_described_plan_has_what_nodes_read_from_outside_and_all_that_they_write(plan, tmp_path):
    said = json.loads((exported(plan, "wfformat", tmp_path / "wf") / "workflow.json").read_text())
    tasks = said["workflow"]["specification"]["tasks"]
    files = {each["id"] for each in said["workflow"]["specification"]["files"]}
    written = [file for task in tasks for file in task["outputFiles"]]
    assert len(written) == len(set(written)) == 2 * 2 * 3 + 2 + 1
    maker = {file: task["id"] for task in tasks for file in task["outputFiles"]}
    for task in tasks:
        assert not {*task["inputFiles"]} & {*task["outputFiles"]}
        assert {maker[f] for f in task["inputFiles"] if f in maker} == {*task["parents"]}
        assert {*task["inputFiles"], *task["outputFiles"]} <= files


def test_no_text_of_a_plan_gets_into_what_is_run():
    evil = "$(touch owned)\n\tall: ; rm -rf /; `x` '\"{{ }} ${HOME} %"
    node = Node(number=0, labels=(evil,), quanta=1, after=())
    for texts in (
        makefile.files([node], evil),
        {"Snakefile": snakemake.files([node], evil)["Snakefile"]},
        cwl.files([node], evil, Path("/plan.h5")),
    ):
        for text in texts.values():
            assert "$(touch" not in text
            assert "`" not in text
            assert "\n\tall:" not in text
    assert json.loads(snakemake.files([node], evil)["bundles.json"])["0"]["tasks"] == [evil]


def test_an_export_is_of_the_plan_as_it_was(plan, tmp_path):
    folder = exported(plan, "makefile", tmp_path / "make")
    assert main(["batch", plan, "--max-quanta", "1"]) == 0
    kept = ScienceDag.load(folder / "plan.h5").bundling()
    assert len(kept) != len(ScienceDag.load(plan).bundling())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "makfile", "-o", "x"], "did you mean 'makefile'?"),
        (["--format", "makefile"], "--output"),
        (["--format", "makefile", "-o", "plan.h5"], "plan.h5"),
    ],
)
def test_bad_usage_is_told(words, message, plan, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", plan, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_plan_without_bundles_is_told_to_be_batched(survey, tmp_path, capsys):
    with Butler(survey.root) as butler:
        survey.plan(butler).save(tmp_path / "plain.h5")
    assert main(["export", str(tmp_path / "plain.h5"), "--format", "cwl", "-o", str(tmp_path / "x")]) == 2
    assert "supertask batch" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
