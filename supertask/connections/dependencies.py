"""Dependency marks: datasets that a quantum depends on without reading them."""

from __future__ import annotations

from collections.abc import Iterable

from supertask.connections.fields import InputField

__all__ = ["DependencyField"]


class DependencyField(InputField):
    """Declare a dataset type that a quantum depends on without reading it.

    A quantum runs after those that make such datasets, is blocked where they fail, and has another
    identity where they are others; `run` does not get them. So a task says that its outputs depend on one
    that did not make its inputs: one that filled a database, say, or approved a night.

    Parameters
    ----------
    units : sequence of str
        Units that label it.
    storage : str
        Its storage format.
    doc : str
        Why the task depends on it.
    name : str, optional
        Its name in the repository; the name of the field unless given.
    minimum : int, optional
        How many a quantum needs at least.
    """

    def __init__(
        self,
        units: Iterable[str] | str = (),
        storage: str = "",
        *,
        doc: str,
        name: str = "",
        minimum: int = 1,
    ) -> None:
        super().__init__(units, storage, doc=doc, name=name, minimum=minimum)
        self._options["mark"] = True
