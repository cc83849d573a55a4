"""Say what the work is: the first of the three floors.

From the ground up, each floor importing only from those before it in this list:

- *Words*: `errors`, `struct`, `dataids`, `datasets`, `quanta`, `conditions` (what a data-ID expression
  means), `units` (unit models; `unitmodels` finds them), `times` (as integers), `rows` (columns in which
  units and datasets are exchanged), `yamltext` (YAML read safely, with places), `canonical` (one
  encoding of equal values), `classpath` (classes by name).
- *Configuration*: `kinds` (what values a field of each type has), `frozen` (lists and dicts that stay as
  they are), `configfields` and `configclasses` (how fields are declared), `overrides` (values as text),
  `grids`, `configbase` and `config` (typed, immutable, with a history of `callers` and files), `configurable`
  (replaceable subtasks), `policy` (what is done about failures), `fields` (dataset types as config
  fields), `dependencies`, `pathfields`, `tags`, `identities` (what makes two tasks the same).
- *Data*: `butler` (the port, and the Butlers that keep it), `formats`, `ingest`, `sky` (footprints and sky
  maps), `repograph` (what a selection of a repository holds and will hold).
- *Work*: `quantumparameters`, `overheads` (what quanta share) and `bundles`, `metadata` (what a call
  notes), `calls` (what surrounds it), `task`, `initsteps`, `supertask`, `functions` (as SuperTasks),
  `hooks` (what jobs need), `actions`, `caching`, and `pipeline`, with its `taskdefs`, `parameters`,
  `contracts` and `dataoverrides` (`pipelineparts` holds them; those of a camera come from
  `cameraoverrides`), `pipelinechecks` and `overridechecks`, `pipelinefiles` (whose shape `yamlschema`
  checks), `pipelinewriting`, `pipelineedits` (files that keep their comments), `pipelineoverrides` (as
  text), `pipelinetasks` and `initsource` (what tasks may read when they are made).
- `testing`: contract suites and one-liners for authors of tasks, Butlers and formats.

What users need most is here at the root; it is imported when it is first asked for, so that
``import supertask`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supertask.actions import action
    from supertask.butler.repository import Butler
    from supertask.caching import cache
    from supertask.config import Config, field
    from supertask.configurable import ConfigurableField
    from supertask.dataids import DataId
    from supertask.datasets import Dataset
    from supertask.dependencies import DependencyField
    from supertask.errors import (
        BadInputError,
        CollectionError,
        ConfigError,
        DagFileError,
        DataIdError,
        DatasetExistsError,
        DatasetNotFoundError,
        DatasetTypeError,
        EmptyPlanError,
        ExecutionError,
        ExpressionError,
        IngestError,
        NoWork,
        PartialOutputs,
        PipelineError,
        PreflightError,
        RepositoryError,
        RepositoryVersionError,
        StorageError,
        SuperTaskError,
        TransientError,
        UnitModelError,
    )
    from supertask.fields import (
        CalibrationField,
        InitInputField,
        InitOutputField,
        InputField,
        MetadataField,
        OutputField,
        SuperTaskConfig,
    )
    from supertask.functions import supertask_of
    from supertask.hooks import JobRequest, SubmitHook, needs, submit_hook
    from supertask.initsteps import InitStep
    from supertask.inputlookups import When
    from supertask.overheads import overhead
    from supertask.pathfields import PathField
    from supertask.pipeline import Pipeline, TaskDef
    from supertask.policy import FailureClass, FailurePolicy, Retries
    from supertask.quanta import Quantum
    from supertask.quantumparameters import Parameters, parameter
    from supertask.struct import Struct
    from supertask.supertask import SuperTask
    from supertask.task import Task
    from supertask.unitmodels import load_unit_model
    from supertask.units import UnitModel

_HOMES = {
    "actions": ("action",),
    "butler.repository": ("Butler",),
    "caching": ("cache",),
    "config": ("Config", "field"),
    "configurable": ("ConfigurableField",),
    "dataids": ("DataId",),
    "datasets": ("Dataset",),
    "dependencies": ("DependencyField",),
    "errors": (
        "BadInputError",
        "CollectionError",
        "ConfigError",
        "DagFileError",
        "DataIdError",
        "DatasetExistsError",
        "DatasetNotFoundError",
        "DatasetTypeError",
        "EmptyPlanError",
        "ExecutionError",
        "ExpressionError",
        "IngestError",
        "NoWork",
        "PartialOutputs",
        "PipelineError",
        "PreflightError",
        "RepositoryError",
        "RepositoryVersionError",
        "StorageError",
        "SuperTaskError",
        "TransientError",
        "UnitModelError",
    ),
    "fields": (
        "CalibrationField",
        "InitInputField",
        "InitOutputField",
        "InputField",
        "MetadataField",
        "OutputField",
        "SuperTaskConfig",
    ),
    "functions": ("supertask_of",),
    "hooks": ("JobRequest", "SubmitHook", "needs", "submit_hook"),
    "initsteps": ("InitStep",),
    "inputlookups": ("When",),
    "overheads": ("overhead",),
    "pathfields": ("PathField",),
    "pipeline": ("Pipeline", "TaskDef"),
    "policy": ("FailureClass", "FailurePolicy", "Retries"),
    "quanta": ("Quantum",),
    "quantumparameters": ("Parameters", "parameter"),
    "struct": ("Struct",),
    "supertask": ("SuperTask",),
    "task": ("Task",),
    "unitmodels": ("load_unit_model",),
    "units": ("UnitModel",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BadInputError",
    "Butler",
    "CalibrationField",
    "CollectionError",
    "Config",
    "ConfigError",
    "ConfigurableField",
    "DagFileError",
    "DataId",
    "DataIdError",
    "Dataset",
    "DatasetExistsError",
    "DatasetNotFoundError",
    "DatasetTypeError",
    "DependencyField",
    "EmptyPlanError",
    "ExecutionError",
    "ExpressionError",
    "FailureClass",
    "FailurePolicy",
    "IngestError",
    "InitInputField",
    "InitOutputField",
    "InitStep",
    "InputField",
    "JobRequest",
    "MetadataField",
    "NoWork",
    "OutputField",
    "Parameters",
    "PartialOutputs",
    "PathField",
    "Pipeline",
    "PipelineError",
    "PreflightError",
    "Quantum",
    "RepositoryError",
    "RepositoryVersionError",
    "Retries",
    "StorageError",
    "Struct",
    "SubmitHook",
    "SuperTask",
    "SuperTaskConfig",
    "SuperTaskError",
    "Task",
    "TaskDef",
    "TransientError",
    "UnitModel",
    "UnitModelError",
    "When",
    "action",
    "cache",
    "field",
    "load_unit_model",
    "needs",
    "overhead",
    "parameter",
    "submit_hook",
    "supertask_of",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
