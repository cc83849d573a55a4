"""Path fields: files in a quantum's own folder, named by the configuration.

    class FitConfig(SuperTaskConfig):
        chain = PathField("chain/samples.npy", doc="Samples of the fit, kept for looking at.")

    class FitTask(SuperTask):
        def run(self, spectrum):
            np.save(self.path("chain"), samples)

The value is a path relative to the folder, so it is the same on every machine and enters no identity. What
another task is to read is an output, not a file in this folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from supertask.configs.fields import ConfigField, Declaration, Special
from supertask.errors import ConfigError
from supertask.kinds.base import INVALID, MISSING, At
from supertask.kinds.scalars import PathKind
from supertask.tasks.calls import check_inner_path

__all__ = ["InnerPathKind", "PathField"]


class InnerPathKind(PathKind):
    """A path that leads nowhere but into the quantum's folder."""

    noun = "a path inside of the quantum's folder"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        """Return the path, or note what is wrong with it."""
        # Not of the file that sets it, whatever its dots say.
        found = Path(value) if isinstance(value, str) else super().accept(value, at, current)
        if found is INVALID:
            return INVALID
        try:
            check_inner_path(found)
        except ConfigError as error:
            return at.note(str(error))
        return found


class PathField(Declaration):
    """Declare a file or folder in the quantum's own folder.

    Parameters
    ----------
    default : str
        Its path there, such as ``model.npz`` or ``plots/residuals.png``.
    doc : str
        What it is.
    """

    typed = False

    def __init__(self, default: str, *, doc: str) -> None:
        self._default = default
        self._doc = doc

    if TYPE_CHECKING:  # what it is on instances of the configuration

        def __get__(self, instance: object, owner: type | None = None) -> Path:
            raise NotImplementedError

    def bind(self, name: str, annotation: Any, special: Special) -> ConfigField:
        """Return the field that this declares."""
        if annotation not in (MISSING, Path):
            raise ConfigError(f"a path field is a Path: write `{name} = PathField(…)`")
        if not self._doc:
            raise ConfigError("it has no doc: say in a line what it is, PathField(…, doc='…')")
        path = Path(self._default)
        check_inner_path(path)
        return ConfigField(name, InnerPathKind(), Path, default=path, doc=self._doc, meta=True)
