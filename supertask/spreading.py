"""Many quanta from lists: of inputs, of outputs, of parameters, one item of each for each quantum.

Only a ``list`` is spread: a tuple, a text or a mapping is one value, which all quanta get. All lists must be
of one length, that of one item no exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from supertask.datasets import Dataset
from supertask.errors import PreflightError, Problems
from supertask.quanta import Quantum

__all__ = ["spread"]

Given = Dataset | set[Dataset] | frozenset[Dataset] | list[Any]


def spread(
    inputs: Mapping[type[Dataset], Given],
    outputs: Mapping[type[Dataset], Given],
    parameters: type[Any] | None = None,
    /,
    **values: Any,
) -> list[Quantum]:
    """Return the quanta that lists describe, for `SuperTask.defineQuanta`.

    Parameters
    ----------
    inputs : Mapping
        Dataset class → what each quantum reads: a list with a dataset, or a set of them, for each; or one
        dataset, or set of them, for all.
    outputs : Mapping
        Dataset class → what each writes, likewise.
    parameters : type, optional
        Class of the parameters of a quantum.
    **values
        Its values: a list with one for each quantum, anything else for all.

    Raises
    ------
    PreflightError
        Lists differ in length; names all with their lengths.

    Examples
    --------
    ::

        def defineQuanta(self, repoGraph):
            stars = list(repoGraph.datasets[self.config.spectrum])
            made = [repoGraph.addDataset(self.config.labels(s.dataId)) for s in stars]
            return spread(
                {self.config.spectrum: stars}, {self.config.labels: made},
                FitParameters, initial_guess=guesses, grid="main",
            )
    """
    lengths = {
        name: len(value)
        for name, value in (
            *((f"{t.name!r} (read)", v) for t, v in inputs.items()),
            *((f"{t.name!r} (written)", v) for t, v in outputs.items()),
            *values.items(),
        )
        if isinstance(value, list)
    }
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise PreflightError(
            f"lists that make quanta are of one length, an item for each, and {said}; give what is the same "
            "for all quanta by itself, and a value that is a list as a tuple"
        )
    if values and parameters is None:
        raise PreflightError(f"{', '.join(values)}: name the class of parameters that these are values of")
    n = next(iter(lengths.values()), 1)
    problems = Problems("quanta from lists")
    made = []
    for i in range(n):
        try:
            own = None if parameters is None else parameters(**{k: _item(v, i) for k, v in values.items()})
        except Exception as error:  # noqa: BLE001 - a class of the user's: said with the others, with its number
            problems.add(f"item {i}: {type(error).__name__}: {error}")
            continue
        read = {t: _datasets(_item(v, i)) for t, v in inputs.items()}
        written = {t: _datasets(_item(v, i)) for t, v in outputs.items()}
        made.append(Quantum(read, written, parameters=own))
    problems.raise_if_any(PreflightError)
    return made


def _item(value: Any, i: int) -> Any:
    return value[i] if isinstance(value, list) else value


def _datasets(value: Any) -> Iterable[Dataset]:
    return {value} if isinstance(value, Dataset) else set(value)
