"""`supertask run --tag`, `query --tag`, `tag` and `act`."""

from __future__ import annotations

import json

import pytest

from executors.cmdline.main import main
from supertask import action
from supertask.errors import ConfigError
from tests.executors import frames


class ActingTask(frames.ReduceTask):
    @action("Count what is there.")
    def count(self, butler, run, times: int = 1, loud: bool = False):
        n = len(butler.query("reduced" if "reduced" in butler.dataset_types() else "raw")) * times
        return f"{n}{'!' if loud else ''}"


@pytest.fixture
def ran(root, control, tmp_path, monkeypatch):
    from graphbuilder.builder import GraphBuilder
    from supertask.pipelines.pipeline import Pipeline

    with frames.make_repository(root) as butler:
        pipeline = Pipeline("Reduce.")
        pipeline.add("reduce", ActingTask, frames.ReduceConfig(control=str(control)))
        dag = GraphBuilder(pipeline, butler, frames.RUN, collections=["raw"]).makeGraph()
        dag.save(tmp_path / "plan.h5")
    assert main(["run", str(tmp_path / "plan.h5"), "--tag", "paper=2", "--tag", "draft"]) == 0
    return root


def test_what_a_run_made_is_found_by_its_tags(ran, capsys) -> None:
    capsys.readouterr()
    assert main(["query", str(ran), "--tag", "paper=2", "--json"]) == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (found["run"], found["type"]) == (frames.RUN, "all")
    assert main(["query", str(ran), "raw", "--tag", "paper=3", "--json"]) == 0
    assert main(["report", str(ran), frames.RUN]) == 0
    assert "paper=2" in capsys.readouterr().out


def test_tags_of_a_run_are_changed(ran, capsys) -> None:
    assert main(["tag", str(ran), frames.RUN, "good=yes", "--remove", "draft", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"paper": "2", "good": "yes"}
    assert main(["tag", str(ran), frames.RUN]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tag", "REPO", "u/test/rum"], "did you mean 'u/test/run'"),
        (["tag", "REPO", frames.RUN, "=x"], "write name=value"),
        (["tag", "REPO", frames.RUN, "--remove", "pape"], "did you mean 'paper'"),
        (["query", "REPO", "--types", "--tag", "a=b"], "--tag goes with"),
        (["query", "REPO", "rawr", "--tag", "a=b"], "did you mean 'raw'"),
        (["act", "REPO", frames.RUN, "reduce.cuont"], "did you mean 'count'"),
        (["act", "REPO", frames.RUN, "reduce.count", "--set", "times=x"], "'x' is no int"),
        (["act", "REPO", frames.RUN, "reduce.count", "--set", "tims=1"], "did you mean 'times'"),
        (["act", "REPO", "u/test/rum"], "did you mean"),
    ],
)
def test_mistakes_are_named(ran, capsys, words, said) -> None:
    assert main([str(ran) if w == "REPO" else w for w in words]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_tasks_offer_actions(ran, capsys) -> None:
    capsys.readouterr()
    assert main(["act", str(ran), frames.RUN]) == 0
    assert "reduce.count" in capsys.readouterr().out
    assert main(["act", str(ran), frames.RUN, "reduce.count", "--set", "times=2", "--set", "loud=yes"]) == 0
    assert capsys.readouterr().out.strip().endswith("!")


def test_an_action_says_what_it_does() -> None:
    with pytest.raises(ConfigError, match="butler, run"):
        action("x")(lambda self, run: None)
