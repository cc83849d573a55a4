from __future__ import annotations

import logging
import time

import pytest

from supertask.configs.config import Config, field
from supertask.errors import ConfigError
from supertask.tasks.configurable import ConfigurableField
from supertask.tasks.metadata import collect_metadata
from supertask.tasks.struct import Struct
from supertask.tasks.task import Task, timed


class FitConfig(Config):
    order: int = field(1, doc="Order.")


class FitTask(Task):
    ConfigClass = FitConfig
    _DefaultName = "fit"

    @timed
    def run(self, values):
        self.metadata["n"] = len(values)
        self.log.info("fitted %d", len(values))
        return Struct(mean=sum(values) / len(values))


class ReduceConfig(Config):
    fit = ConfigurableField(FitTask, doc="Fits.", config=FitConfig(order=2))
    level: float = field(0.0, doc="Level.")


class ReduceTask(Task):
    ConfigClass = ReduceConfig
    _DefaultName = "reduce"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.makeSubtask("fit")

    def run(self, values):
        with self.timer("all"):
            found = self.fit.run(values).mean
        return Struct(value=found - self.config.level)


def test_a_task_is_a_configured_callable():
    assert ReduceTask(ReduceConfig(level=1)).run([1, 2, 3]) == Struct(value=1.0)
    assert ReduceTask().config == ReduceConfig()


def test_subtasks_have_their_configuration_and_full_name():
    task = ReduceTask(name="isr")
    assert task.fit.config.order == 2
    assert (task.full_name, task.fit.full_name) == ("isr", "isr.fit")
    assert task.fit.log.name == "isr.fit"
    assert repr(task.fit) == "<FitTask 'isr.fit'>"


def test_a_log_can_be_given():
    log = logging.getLogger("mine")
    assert FitTask(log=log).log is log


def test_what_is_logged_says_which_task(caplog):
    with caplog.at_level(logging.INFO):
        ReduceTask().run([1])
    assert [(r.name, r.getMessage()) for r in caplog.records] == [("reduce.fit", "fitted 1")]


def test_metadata_and_times_are_collected_outside_of_the_task():
    task = ReduceTask()
    before = dict(task.__dict__)
    with collect_metadata() as collected:
        task.run([1, 2])
        task.run([1, 2, 3])
    found = collected.to_dict()["reduce"]
    assert found["fit"]["n"] == 3
    assert found["timers"]["all"]["count"] == 2
    assert found["timers"]["all"]["wall_s"] >= found["fit"]["timers"]["run"]["wall_s"] > 0
    assert found["timers"]["all"]["cpu_s"] >= 0
    assert task.__dict__ == before


def test_a_timer_counts_until_an_exception_and_decorates_functions():
    task = FitTask()

    @task.timer("nap")
    def nap():
        time.sleep(0.01)
        raise ValueError

    with collect_metadata() as collected:
        for _ in range(2):
            with pytest.raises(ValueError):
                nap()
    noted = collected["fit"]["timers"]["nap"]
    assert noted["count"] == 2
    assert noted["wall_s"] > 0.02


def test_without_a_collection_metadata_can_be_looked_at_after():
    task = FitTask(name="alone")
    task.run([1, 2])
    assert task.metadata["n"] == 2


def test_a_class_without_a_name_or_configuration_is_refused():
    class Nameless(Task):
        ConfigClass = FitConfig

    class Configless(Task):
        _DefaultName = "x"

    with pytest.raises(ConfigError, match="task class Nameless has no name: set _DefaultName"):
        Nameless()
    with pytest.raises(ConfigError, match="task class Configless has no configuration: set ConfigClass"):
        Configless()
    assert Nameless(name="named").name == "named"


def test_a_configuration_of_another_class_is_refused():
    with pytest.raises(
        ConfigError, match=r"task 'fit' \(FitTask\) is configured by a FitConfig, got ReduceConfig"
    ):
        FitTask(ReduceConfig())


def test_a_subtask_is_the_attribute_of_its_name():
    task = ReduceTask()
    assert task.makeSubtask("fit") is task.fit


def test_only_configurable_fields_make_subtasks():
    with pytest.raises(
        ConfigError, match=r"no ConfigurableField 'fitt' \(did you mean 'fit'\?\); it has fit"
    ):
        ReduceTask().makeSubtask("fitt")
    with pytest.raises(ConfigError, match="no ConfigurableField 'level'"):
        ReduceTask().makeSubtask("level")


def test_run_is_to_be_written():
    class Empty(Task):
        ConfigClass = FitConfig
        _DefaultName = "empty"

    with pytest.raises(NotImplementedError, match="Empty does not define run"):
        Empty().run()
