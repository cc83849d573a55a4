"""`supertask simulate` and `supertask import-wfformat`, as a user calls them."""

from __future__ import annotations

import json

import pytest

from executors.cmdline.main import main
from tests.workflows import fork_and_join

STEPS = ("burn_0", "burn_1", "burn_2")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "import-wfformat",
        str(fork_and_join(tmp_path)),
        "--repo",
        "repo",
        "-o",
        "plan.h5",
        "--time-scale",
        "1e-4",
    ]
    assert main(words) == 0
    return "plan.h5"


@pytest.fixture
def say(capsys):
    """Call a command; return its exit code, and what it wrote to stdout and stderr."""

    def call(*words):
        capsys.readouterr()
        code = main(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def simulated(say, plan, *words):
    code, out, _ = say("simulate", plan, "--json", *words)
    assert code == 0
    return json.loads(out)


def test_an_import_tells_what_it_made(tmp_path, capsys, plan):
    assert "plan.h5: 10 quanta, 3 steps, 11 files" in capsys.readouterr().out


def test_costs_that_nobody_knows_are_assumed_and_it_is_said(say, plan):
    code, out, err = say("simulate", plan)
    assert code == 0
    assert "nothing was measured of burn_0, burn_1, burn_2: assumed 1 s" in err
    for word in ("makespan", "utilisation", "critical path", "waste", "seed 0"):
        assert word in out


def test_costs_by_option_give_a_makespan_between_its_bounds(say, plan):
    words = [word for label in STEPS for word in ("--time", f"{label}=10")]
    found = simulated(say, plan, *words, "--slots", "4", "--framework", "slurm")
    assert found["critical_path"] == 30.0
    assert found["work"] == 100.0
    assert found["makespan"] > 10 + 2 * 10 + 10
    assert found["bound"] == 30.0
    assert [each["assumed"] for each in found["costs"]] == [False] * 3


def test_costs_are_those_of_earlier_runs(say, plan):
    assert main(["run", plan]) == 0
    found = simulated(say, plan)
    assert all(each["source"].endswith("of u/workflow/run") for each in found["costs"])
    assert found["work"] < 1.0


def test_equal_seeds_give_equal_results_and_others_differ(say, plan):
    words = ["--time", "burn_1=10", "--failing", "30%", "--dying", "0.1", "--slots", "3"]
    first, again = (simulated(say, plan, *words, "--seed", "7") for _ in range(2))
    assert first == again
    others = [simulated(say, plan, *words, "--seed", str(seed)) for seed in range(8)]
    assert len({each["makespan"] for each in others}) > 1


def test_other_sizes_of_bundles_are_compared(say, plan):
    assert main(["batch", plan, "--max-quanta", "4"]) == 0
    found = simulated(say, plan, "--bundle-sizes", "1,8", "--framework", "slurm", "--slots", "8")
    assert [each["bundle_size"] for each in found["other_sizes"]] == [1, 8]
    assert found["other_sizes"][0]["jobs"] == 10
    assert found["other_sizes"][1]["jobs"] == 3
    code, out, _ = say("simulate", plan)
    assert code == 0
    assert "bundle size" in out
    assert simulated(say, plan, "--no-compare")["other_sizes"] == []


def test_latencies_can_be_changed_or_come_from_a_file(say, plan, tmp_path):
    fast = simulated(say, plan, "--framework", "slurm", "--slots", "8")
    slow = simulated(say, plan, "--framework", "slurm", "--slots", "8", "--latency", "delay=600")
    assert slow["makespan"] > fast["makespan"] + 1000
    (tmp_path / "mine.json").write_text(json.dumps({"frameworks": {"ours": {"delay": 5.0}}}))
    ours = simulated(say, plan, "--framework", "ours", "--latencies", "mine.json", "--slots", "8")
    assert ours["latencies"]["delay"] == 5.0


def test_what_shares_overhead_pays_it_once_for_a_bundle(say, plan):
    words = ["--time", "burn_1=1", "--overhead", "burn_1=100", "--framework", "slurm", "--slots", "8"]
    assert main(["batch", plan, "--max-quanta", "4"]) == 0
    found = simulated(say, plan, *words, "--bundle-sizes", "8")
    assert found["overhead"] == 200.0
    assert found["other_sizes"][0]["overhead"] == 100.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slots", "0"], "0 is not in the range"),
        (["--framework", "slrm"], "did you mean 'slurm'?"),
        (["--framework", "in-process", "--slots", "4"], "1 slot, not 4"),
        (["--time", "burn=1"], "the plan has no task 'burn'"),
        (["--time", "burn_1=-3"], "not a number of 0 or more"),
        (["--failing", "2"], "0 to 1"),
        (["--failing", "burn_1=often"], "not a number"),
        (["--dying", "7"], "range"),
        (["--latency", "delay"], "NAME=SECONDS"),
        (["--latency", "dealy=3"], "did you mean 'delay'?"),
        (["--latency", "delay=-3"], "0 or more"),
        (["--latencies", "nowhere.json"], "cannot be read"),
        (["--bundle-sizes", "10,none"], "not a number of quanta"),
        (["--bundling", "night"], "no bundling 'night'"),
        (["--measured", "u/none"], "has no journal"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_bad_usage_is_told(words, message, say, plan):
    code, _, err = say("simulate", plan, *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"frameworks": {"pool": {"delay": "long"}}}', '{"frameworks": {"pool": 3}}']
)
def test_a_file_of_latencies_that_is_none_is_refused(text, say, plan, tmp_path):
    (tmp_path / "bad.json").write_text(text)
    assert say("simulate", plan, "--latencies", "bad.json")[0] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.json", "--repo", "r", "-o", "p.h5"], "cannot be read"),
        (["instance.json", "--repo", "repo", "-o", "p.h5"], "repo"),
        (["instance.json", "--repo", "r", "-o", "p.h5", "--time-scale", "-1"], "range"),
        (["instance.json", "--repo", "r", "-o", "p.h5", "--size-scale", "1e9"], "smaller scale"),
        (["instance.json", "--repo", "r"], "--output"),
    ],
)
def test_an_import_that_cannot_be_is_told(words, message, say, plan):
    code, _, err = say("import-wfformat", *words)
    assert code == 2
    assert message in err
