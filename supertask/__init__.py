"""Say what the work is: the first of the three floors.

From the ground up, each floor importing only from those before it in this list:

- *Words*: `errors`, `dataids`, `datasets`, `quanta`, `conditions` (what a data-ID expression means), `units`
  (unit models; `unitmodels` finds them), `times` (as integers), `rows` (columns in which units and datasets
  are exchanged), `canonical` (one encoding of equal values), `classpath` (classes by name), `yamlfiles` (YAML
  read safely, with places).
- *Configuration*: `kinds` (what values a field of each type has), `configs` (typed, immutable, with a
  history; what makes two of them the same), `connections` (dataset types as fields of a configuration).
- *Data*: `butler` (the port, and the Butlers that keep it), `formats`, `ingest`, `sky` (footprints and sky
  maps), `relations`, `repograph` (what a selection of a repository holds and will hold).
- *Work*: `tasks` (how a piece is done, and what is around it), `pipelines` (tasks in order, and their files).
- `testing`: contract suites and one-liners for authors of tasks, Butlers and formats.

What users need most is here at the root; it is imported when it is first asked for, so that
``import supertask`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supertask.butler.repository import Butler
    from supertask.configs.config import Config, field
    from supertask.configs.policy import FailureClass, FailurePolicy, Retries
    from supertask.connections.dependencies import DependencyField
    from supertask.connections.fields import (
        CalibrationField,
        InitInputField,
        InitOutputField,
        InputField,
        MetadataField,
        OutputField,
        SuperTaskConfig,
    )
    from supertask.connections.inputlookups import When
    from supertask.dataids import DataId
    from supertask.datasets import Dataset
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
    from supertask.pipelines.pipeline import Pipeline, TaskDef
    from supertask.quanta import Quantum
    from supertask.tasks.actions import action
    from supertask.tasks.caching import cache
    from supertask.tasks.configurable import ConfigurableField
    from supertask.tasks.functions import supertask_of
    from supertask.tasks.hooks import JobRequest, SubmitHook, needs, submit_hook
    from supertask.tasks.initsteps import InitStep
    from supertask.tasks.overheads import overhead
    from supertask.tasks.pathfields import PathField
    from supertask.tasks.quantumparameters import Parameters, parameter
    from supertask.tasks.struct import Struct
    from supertask.tasks.supertask import SuperTask
    from supertask.tasks.task import Task
    from supertask.unitmodels import load_unit_model
    from supertask.units import UnitModel

_HOMES = {
    "tasks.actions": ("action",),
    "butler.repository": ("Butler",),
    "tasks.caching": ("cache",),
    "configs.config": ("Config", "field"),
    "tasks.configurable": ("ConfigurableField",),
    "dataids": ("DataId",),
    "datasets": ("Dataset",),
    "connections.dependencies": ("DependencyField",),
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
    "connections.fields": (
        "CalibrationField",
        "InitInputField",
        "InitOutputField",
        "InputField",
        "MetadataField",
        "OutputField",
        "SuperTaskConfig",
    ),
    "tasks.functions": ("supertask_of",),
    "tasks.hooks": ("JobRequest", "SubmitHook", "needs", "submit_hook"),
    "tasks.initsteps": ("InitStep",),
    "connections.inputlookups": ("When",),
    "tasks.overheads": ("overhead",),
    "tasks.pathfields": ("PathField",),
    "pipelines.pipeline": ("Pipeline", "TaskDef"),
    "configs.policy": ("FailureClass", "FailurePolicy", "Retries"),
    "quanta": ("Quantum",),
    "tasks.quantumparameters": ("Parameters", "parameter"),
    "tasks.struct": ("Struct",),
    "tasks.supertask": ("SuperTask",),
    "tasks.task": ("Task",),
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
