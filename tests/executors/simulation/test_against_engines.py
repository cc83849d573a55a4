"""Simulated makespans beside real ones, of quanta that sleep."""

from __future__ import annotations

import pytest

from benchmarks import simulation

WITHIN = 0.15

pytestmark = [pytest.mark.slow, pytest.mark.engine]


def compared(name):
    found = simulation.compare(name)
    if found is None:
        pytest.skip(f"{name} is not here")
    return found


@pytest.mark.parametrize("name", ["in-process", "pool"])
def test_what_is_measured_on_one_plan_tells_how_long_another_takes(name):
    found = compared(name)
    assert found.before == pytest.approx(found.real, rel=WITHIN)
    assert found.own == pytest.approx(found.real, rel=WITHIN)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("slurm", marks=pytest.mark.xdist_group("slurm")),
        pytest.param("dask", marks=pytest.mark.xdist_group("dask")),
    ],
)
def test_with_the_latencies_of_a_run_its_simulation_takes_as_long(name):
    # Starting a process takes CPU, and what of that neighbours leave on a shared machine changes between two
    # runs by more than the bound: so that only what the simulation makes of latencies is held to it here.
    found = compared(name)
    assert found.own == pytest.approx(found.real, rel=WITHIN)
