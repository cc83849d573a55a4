"""Submit hooks."""

from __future__ import annotations

import pytest

from supertask import Config, ConfigurableField, JobRequest, SubmitHook, Task, field, needs, submit_hook
from supertask.configs.identities import task_key
from supertask.errors import ConfigError, ExecutionError
from supertask.tasks.hooks import hooks_of, requested


@submit_hook
class Java(SubmitHook):
    version: int

    def process(self, job: JobRequest) -> JobRequest:
        seen = job.environ.get("SEEN", "")
        return job.with_environ(JAVA_HOME=f"/opt/java-{self.version}", SEEN=seen + "j")


@submit_hook
class Big(SubmitHook):
    memory: str

    def process(self, job: JobRequest) -> JobRequest:
        return job.replace(memory=self.memory, priority=job.priority + 1)


class PartConfig(Config):
    n: int = field(1, doc="Number.")


@needs(Java(11))
class PartTask(Task):
    ConfigClass = PartConfig
    _DefaultName = "part"


class WholeConfig(Config):
    part = ConfigurableField(PartTask, doc="A part.")


@needs(Java(11), Big("2 GB"))
class WholeTask(Task):
    ConfigClass = WholeConfig
    _DefaultName = "whole"


class DerivedTask(WholeTask):
    pass


@needs(Java(17))
class NewerTask(DerivedTask):
    pass


def job_of(task: type[Task]) -> JobRequest:
    return requested(JobRequest(label="t"), hooks_of(task, task.ConfigClass()))


def test_a_hook_is_applied_once_where_task_and_subtask_both_have_it() -> None:
    job = job_of(WholeTask)
    assert job.environ == {"JAVA_HOME": "/opt/java-11", "SEEN": "j"}
    assert (job.memory, job.priority) == (2_000_000_000, 1)


def test_subclasses_inherit_hooks() -> None:
    assert job_of(DerivedTask) == job_of(WholeTask)


def test_a_subclass_adds_its_own_after_those_it_inherits_and_changes_no_base() -> None:
    assert job_of(NewerTask).environ["JAVA_HOME"] == "/opt/java-17"
    assert job_of(WholeTask).environ["JAVA_HOME"] == "/opt/java-11"


def test_hooks_of_configuration_classes_count() -> None:
    @needs(Java(8))
    class Here(Config):
        n: int = field(1, doc="Number.")

    class HereTask(Task):
        ConfigClass = Here
        _DefaultName = "here"

    assert job_of(HereTask).environ["JAVA_HOME"] == "/opt/java-8"


def test_hooks_are_no_part_of_identity() -> None:
    class Plain(Task):
        ConfigClass = PartConfig
        _DefaultName = "part"

    assert task_key("a:B", "1", PartConfig()) == task_key("a:B", "1", Plain.ConfigClass())


def test_what_is_no_hook_or_gives_no_job_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs\\(\\) takes hooks"):
        needs(Java)  # type: ignore[arg-type]

    class Forgetful(SubmitHook):
        def process(self, job: JobRequest) -> JobRequest:  # type: ignore[return]
            job.with_environ(A="b")

    class Broken(SubmitHook):
        def process(self, job: JobRequest) -> JobRequest:
            raise OSError("no licence")

    class Greedy(SubmitHook):
        def process(self, job: JobRequest) -> JobRequest:
            return job.replace(timeout=-1.0, cores=0).with_environ(A=3)  # type: ignore[arg-type]

    for hook, said in (
        (Forgetful(), "must return the job"),
        (Broken(), "Broken of task 't' raised OSError: no licence"),
        (Greedy(), "timeout: .*cores: "),
    ):
        with pytest.raises(ExecutionError, match=said):
            requested(JobRequest(label="t"), [hook])
