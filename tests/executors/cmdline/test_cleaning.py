"""``supertask clean``, and who watches a run, called as a user calls them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from executors import cleaning
from executors.journal.runfolder import RunFolder
from supertask.butler.repository import Butler

RUN = "u/me/run1"


@pytest.fixture
def done(survey, call):
    """A survey with a plan that was run."""
    call("preflight", "repo", "-p", "pipeline.yaml", "--output-run", RUN, "-i", "raw/all", "-o", "plan.h5")
    assert call("run", "plan.h5").code == 0
    return survey


def count(name, run=RUN):
    with Butler("repo") as butler:
        return len(butler.query(name, collections=[run]))


def test_there_is_nothing_to_clean_after_a_run_that_went_well(done, call):
    said = call("clean", "repo")
    assert (said.code, said.out) == (0, "nothing is left over\n")


def test_leftovers_are_named_then_deleted(done, call):
    left = Path("repo") / RUN / "sky" / ".tmp-7-0-sky.json"
    left.write_text("half")
    young = Path("repo") / "raw" / ".tmp-8-0-raw.json"
    young.write_text("in the making")
    said = call("clean", "repo", "--dry-run")
    assert "would free 4 B" in said.out
    assert left.exists()
    said = call("clean", "repo", "--json")
    assert [(r["bytes"], r["deleted"]) for r in said.rows] == [(4, True)]
    assert (left.exists(), young.exists()) == (False, True)
    assert "interrupted write" in call("clean", "repo", "--older-than", "0").out
    assert not young.exists()


def test_what_a_run_in_progress_writes_is_left_alone(done, call):
    left = Path("repo") / RUN / "sky" / ".tmp-7-0-sky.json"
    left.write_text("half")
    os.utime(left, (1, 1))
    lock = RunFolder(os.path.abspath("repo"), RUN).lock()
    try:
        assert call("clean", "repo").out == "nothing is left over\n"
        said = call("clean", "plan.h5", "--retain", "sky=until-used")
        assert (said.code, "is being executed already" in said.err) == (2, True)
        said = call("clean", "repo", "--run", RUN, "--yes")
        assert (said.code, "is being executed already" in said.err) == (2, True)
    finally:
        lock.release()
    assert left.exists()


def test_intermediates_go_when_asked_and_are_remade_when_needed(done, call):
    assert "would free" in call("clean", "plan.h5", "--retain", "sky=until-used", "-n").out
    assert count("sky") == 12
    said = call("clean", "plan.h5", "--retain", "sky=until-used", "--json")
    assert (said.code, said.rows[0]["files"]) == (0, 12)
    assert (count("sky"), count("night")) == (0, 6)
    assert call("clean", "plan.h5", "--retain", "sky=until-used").out == "nothing is left over\n"
    assert "12 quanta" not in call("run", "plan.h5").out
    with Butler("repo") as butler:
        night = butler.query("night", collections=[RUN])[0]
        os.unlink(butler.path_of(night))
    assert call("run", "plan.h5").code == 0
    assert (count("sky"), count("night")) == (2, 6)


def test_what_could_not_be_remade_stays_unless_one_insists(done, call):
    with Butler("repo") as butler:
        frame = butler.query("frame", collections=["raw/all"], visit=3)[0]
        os.unlink(butler.path_of(frame))
    said = call("clean", "plan.h5", "--retain", "sky=until-used")
    assert "outputs of 1 quantum stay" in said.err
    assert count("sky") == 1
    call("clean", "plan.h5", "--retain", "sky=until-used", "--including-unremakable")
    assert count("sky") == 0


def test_a_whole_run_goes_with_its_journal_and_can_be_made_again(done, call):
    said = call("clean", "repo", "--run", RUN)
    assert (said.code, "say --yes" in said.err) == (2, True)
    said = call("clean", "repo", "--run", RUN, "--dry-run")
    assert (said.code, count("night")) == (0, 6)
    said = call("clean", "repo", "--run", RUN, "--yes")
    assert (said.code, "freed" in said.out) == (0, True)
    assert not (Path("repo") / RUN).exists()
    assert not (Path("repo") / ".supertask" / "runs" / "u").exists()
    with Butler("repo") as butler:
        assert RUN not in {c.name for c in butler.collection_infos()}
    assert call("run", "plan.h5").code == 0
    assert count("night") == 6


def test_raw_frames_are_kept(done, call):
    said = call("clean", "repo", "--run", "raw/all", "--yes")
    assert said.code == 2
    assert "12 of its 12 datasets cannot be made again" in said.err
    assert "they were ingested or put by hand" in said.err
    assert count("frame", "raw/all") == 12
    said = call("clean", "repo", "--run", "raw/all", "--yes", "--including-unremakable")
    assert said.code == 0
    said = call("clean", "repo", "--run", RUN, "--yes")
    assert "they were made from raw/all, which is gone" in said.err


def test_a_removal_that_was_broken_off_is_finished(done, call, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cleaning, "_finish", killed)
        assert call("clean", "repo", "--run", RUN, "--yes").code == 130
    said = call("clean", "repo")
    assert "rest of a run" in said.out
    assert not (Path("repo") / RUN).exists()


def test_mistakes_are_said(done, call):
    for words, message in [
        (("clean", "repo", "--retain", "sky=until-used"), "--retain needs the plan"),
        (("clean", "plan.h5", "--run", RUN), "--run deletes runs of a repository"),
        (("clean", "repo", "--run", "u/me/run2"), "there is no run 'u/me/run2' (did you mean 'u/me/run1'?)"),
        (("clean", "repo", "--run", "nope"), "there is no run 'nope'; there are raw/all, u/me/run1"),
        (("clean", "plan.h5", "--retain", "sky"), "write TYPE=POLICY"),
        (("clean", "plan.h5", "--rnu", RUN), "error: No such option"),
        (("clean", "plan.h5", "--retain", "frame=until-used"), "the plan does not make it"),
        (("clean", "nowhere"), "nowhere"),
    ]:
        said = call(*words)
        assert (said.code, message in said.err) == (2, True), said.err
        assert "Traceback" not in said.err


def test_what_the_pipeline_says_is_done_and_the_command_line_stands_over_it(survey, call):
    said = "retention: {sky: until-used}"
    Path("pipeline.yaml").write_text(f"{Path('pipeline.yaml').read_text()}{said}\n")
    assert "sky           until-used" in call("pipeline", "show", "pipeline.yaml").out
    assert "| `sky` | until-used |" in call("pipeline", "docs", "pipeline.yaml").out
    Path("kept.yaml").write_text(Path("pipeline.yaml").read_text().replace(said, ""))
    assert call("pipeline", "diff", "pipeline.yaml", "kept.yaml", "--json").rows == [
        {"task": "", "field": "retention of sky", "here": "until-used", "there": "keep"}
    ]
    for run, more, left in (("u/me/a", (), 0), ("u/me/b", ("--retain", "s*=keep"), 12)):
        words = ("preflight", "repo", "-p", "pipeline.yaml", "--output-run", run, "-i", "raw/all")
        assert call(*words, "-o", "plan.h5").code == 0
        assert "sky until-used" in call("dag", "show", "plan.h5").out
        assert call("dag", "show", "plan.h5", "--json").rows[0]["retention"] == {"sky": "until-used"}
        assert call("run", "plan.h5", *more).code == 0
        assert count("sky", run) == left
    Path("pipeline.yaml").write_text(
        Path("pipeline.yaml").read_text().replace("sky:", "skyy:").replace("  skyy", "  sky")
    )
    said = call("pipeline", "check", "pipeline.yaml")
    assert (said.code, "pipeline.yaml:8:13: retention: the pipeline has no dataset type" in said.err) == (
        2,
        True,
    )
    assert "(did you mean 'sky'?)" in said.err


# -- watching --------------------------------------------------------------------------------------


def test_a_run_is_watched_and_works_on_scratch_as_a_profile_says(survey, call):
    script = "import sys; open('told', 'a').write(sys.stdin.read())"
    Path("scratch").mkdir()
    Path("night.yaml").write_text(
        f'metrics: run.prom\nnotify:\n  command: [{sys.executable}, -c, "{script}"]\n'
        "retain:\n  sky: until-used\nscratch: scratch\nscratch_size: 1e9\n"
    )
    call("preflight", "repo", "-p", "pipeline.yaml", "--output-run", RUN, "-i", "raw/all", "-o", "plan.h5")
    said = call("run", "plan.h5", "--profile", "night.yaml")
    assert said.code == 0, said.err
    assert 'supertask_run_quanta{run="u/me/run1",task="sky"} 12.0' in Path("run.prom").read_text()
    assert '"exit_code": 0' in Path("told").read_text()
    assert (count("sky"), count("night"), os.listdir("scratch")) == (0, 6, [])


def test_the_command_line_says_the_same(survey, call):
    call("preflight", "repo", "-p", "pipeline.yaml", "--output-run", RUN, "-i", "raw/all", "-o", "plan.h5")
    said = call(
        "run", "plan.h5", "--metrics", "run.prom", "--retain", "sky=until-used",
        "--scratch", survey, "--scratch-size", "2G",
        "--notify-command", f"{sys.executable} -c 'import time; time.sleep(0)'",
    )  # fmt: skip
    assert said.code == 0
    assert "supertask_run_exit_code" in Path("run.prom").read_text()
    assert count("sky") == 0


def test_mistakes_in_profiles_and_options_are_all_said(survey, call):
    call("preflight", "repo", "-p", "pipeline.yaml", "--output-run", RUN, "-i", "raw/all", "-o", "plan.h5")
    Path("bad.yaml").write_text("metric: x\nnotify: {command: mail me}\nretain: [sky]\nscratch_size: much\n")
    said = call("run", "plan.h5", "--profile", "bad.yaml")
    assert said.code == 2
    for words in ("'metric' (did you mean 'metrics'?)", "list of words", "must map dataset types", "'much'"):
        assert words in said.err
    begun = time.monotonic()
    for words, message in [
        (("--metrics", "no/where.prom"), "there is no folder"),
        (("--notify-url", "ftp://x"), "it is not an address"),
        (("--scratch", "nowhere"), "is not a folder"),
        (("--scratch-size", "lots"), "write bytes"),
        (("--retain", "skyy=until-used"), "no dataset type 'skyy' (did you mean 'sky'?)"),
        (("--profile", "none.yaml"), "none.yaml"),
    ]:
        said = call("run", "plan.h5", *words)
        assert (said.code, message in said.err) == (2, True), said.err
        assert "Traceback" not in said.err
    assert time.monotonic() - begun < 30
