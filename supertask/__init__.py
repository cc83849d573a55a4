"""Say what the work is: the first of the three floors.

From the ground up, each imports only from above it in this list:

- *Words*: `errors`, `struct`, `dataids`, `datasets`, `quanta`, `conditions` (what a data-ID expression
  means), `units` (unit models; `unitmodels` finds them), `yamltext` (YAML read safely, with places).
- *Configuration*: `kinds` (what values a field of each type has), `configfields` (how fields are declared),
  `overrides` (values for fields as text), `config` (typed, frozen, with a history), `configurable`
  (replaceable subtasks), `fields` (dataset types as config fields), `identities` (what makes two values one).
- *Work*: `task`, `supertask`, `pipeline` and its files, `classpath`.
- *Data*: `butler` (the port and the Butlers that keep it), `rows` (columns that they exchange), `formats`,
  `repograph` (what a selection of a repository holds and will hold).
- `testing`: contract suites and one-liners for authors of tasks, Butlers and formats.

What users need most is here at the root; it is imported when it is first asked for, so that
``import supertask`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supertask.butler.repository import Butler
    from supertask.config import Config, field
    from supertask.configurable import ConfigurableField
    from supertask.dataids import DataId
    from supertask.datasets import Dataset
    from supertask.errors import (
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
        PipelineError,
        PreflightError,
        RepositoryError,
        RepositoryVersionError,
        StorageError,
        SuperTaskError,
        UnitModelError,
    )
    from supertask.fields import (
        CalibrationField,
        InitInputField,
        InitOutputField,
        InputField,
        OutputField,
        SuperTaskConfig,
    )
    from supertask.pipeline import Pipeline, TaskDef
    from supertask.quanta import Quantum
    from supertask.struct import Struct
    from supertask.supertask import SuperTask
    from supertask.task import Task
    from supertask.unitmodels import load_unit_model
    from supertask.units import UnitModel

_HOMES = {
    "butler.repository": ("Butler",),
    "config": ("Config", "field"),
    "configurable": ("ConfigurableField",),
    "dataids": ("DataId",),
    "datasets": ("Dataset",),
    "errors": (
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
        "PipelineError",
        "PreflightError",
        "RepositoryError",
        "RepositoryVersionError",
        "StorageError",
        "SuperTaskError",
        "UnitModelError",
    ),
    "fields": (
        "CalibrationField",
        "InitInputField",
        "InitOutputField",
        "InputField",
        "OutputField",
        "SuperTaskConfig",
    ),
    "pipeline": ("Pipeline", "TaskDef"),
    "quanta": ("Quantum",),
    "struct": ("Struct",),
    "supertask": ("SuperTask",),
    "task": ("Task",),
    "unitmodels": ("load_unit_model",),
    "units": ("UnitModel",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
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
    "EmptyPlanError",
    "ExecutionError",
    "ExpressionError",
    "IngestError",
    "InitInputField",
    "InitOutputField",
    "InputField",
    "NoWork",
    "OutputField",
    "Pipeline",
    "PipelineError",
    "PreflightError",
    "Quantum",
    "RepositoryError",
    "RepositoryVersionError",
    "StorageError",
    "Struct",
    "SuperTask",
    "SuperTaskConfig",
    "SuperTaskError",
    "Task",
    "TaskDef",
    "UnitModel",
    "UnitModelError",
    "field",
    "load_unit_model",
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
