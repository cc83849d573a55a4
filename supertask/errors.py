"""The one error tree, and the collector that reports every problem of an input at once.

Each message says what is wrong, which thing (label, data ID, file, line), why, and the way out.
`NoWork` is not an error: a task raises it to say "done, with nothing to write".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = [
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
    "Problems",
    "RepositoryError",
    "RepositoryVersionError",
    "StorageError",
    "SuperTaskError",
    "TransientError",
    "UnitModelError",
    "did_you_mean",
]


class SuperTaskError(Exception):
    """Root of all errors that a user of this software can cause and mend."""

    problems: tuple[str, ...] = ()
    """Where a whole input was checked: every problem found, without the head of the message."""


class UnitModelError(SuperTaskError):
    """A unit model is not valid."""


class DataIdError(SuperTaskError):
    """A data ID has a missing, unknown or ill-typed key, or names nothing that is known."""


class DatasetTypeError(SuperTaskError):
    """A dataset type is not valid, or disagrees with one of the same name."""


class ConfigError(SuperTaskError):
    """A configuration or an override of one is not valid."""


class PipelineError(SuperTaskError):
    """A pipeline is not consistent: a cycle, two producers, inputs that nobody makes."""


class ExpressionError(SuperTaskError):
    """A data-ID expression cannot be understood.

    Parameters
    ----------
    message : str
        What is wrong and the way out.
    text : str
        The whole expression.
    position : int
        Index of the character at which it went wrong.
    """

    def __init__(self, message: str, text: str = "", position: int = 0) -> None:
        self.text = text
        self.position = position
        if text:
            line_start = text.rfind("\n", 0, position) + 1
            line_end = text.find("\n", position)
            line = text[line_start:] if line_end < 0 else text[line_start:line_end]
            column = position - line_start
            cut = max(0, column - 60)
            line = "".join(c if c.isprintable() else "\ufffd" for c in line[cut : cut + 100])
            message = f"{message}\n  {line}\n  {' ' * (column - cut)}^"
        super().__init__(message)


class RepositoryError(SuperTaskError):
    """A data repository cannot be opened, read or written."""


class RepositoryVersionError(RepositoryError):
    """A repository was made by a version of this software that this one cannot read."""


class CollectionError(RepositoryError):
    """A collection is missing, of another kind, or would become a loop."""


class DatasetNotFoundError(RepositoryError):
    """No such dataset in the collections searched."""


class DatasetExistsError(RepositoryError):
    """A dataset is already there: what is in a RUN is written once."""


class StorageError(RepositoryError):
    """A file cannot be read or written in its storage format."""


class IngestError(SuperTaskError):
    """A header translator is not valid, or files could not be ingested."""


class PreflightError(SuperTaskError):
    """A plan cannot be made."""


class EmptyPlanError(PreflightError):
    """The plan has no quanta; the message says which condition or step emptied it.

    Parameters
    ----------
    message : str
        What it was.
    steps : tuple, optional
        All steps: (task label or empty, step, how many it left).
    findings : tuple, optional
        What leaves nothing, in words, the likeliest culprit first.
    """

    def __init__(
        self,
        message: str,
        steps: tuple[tuple[str, str, int], ...] = (),
        findings: tuple[str, ...] = (),
    ) -> None:
        self.steps = steps
        self.findings = findings
        super().__init__(message)


class DagFileError(SuperTaskError):
    """A Science DAG file is truncated, altered, of another version, or not one at all."""


class ExecutionError(SuperTaskError):
    """A plan cannot be run here."""


class TransientError(SuperTaskError):
    """Raised by a task that was disturbed from outside and may succeed when tried again."""


class BadInputError(SuperTaskError):
    """Raised by a task whose inputs cannot be worked on, so that nobody tries again."""


class PartialOutputs(Exception):  # noqa: N818 - it is a success, with a caveat
    """Raised by a task that made part of its outputs: they are kept, and it is known what is wrong with them.

    Outputs that are not written are then absent for those that read them, as after `NoWork`. One who has
    written none of them has found no work.

    Parameters
    ----------
    caveat : str
        What is wrong.
    results : Struct or dict, optional
        What `run` would have returned, as far as it was made; for a task that leaves writing to
        `SuperTask.runQuantum`.
    """

    def __init__(self, caveat: str, results: Any = None) -> None:
        super().__init__(caveat)
        self.results = results


class NoWork(Exception):  # noqa: N818 - the design's name; it is a success, not an error
    """Raised by a task that finds nothing to do: a success without outputs."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest of `known`, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


class Problems:
    """Collect every problem of one input, then raise once.

    Parameters
    ----------
    subject : str
        What is being checked, for the head of the message.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._found: list[str] = []

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def add(self, message: str) -> None:
        """Note one problem."""
        self._found.append(message)

    def take(self, error: SuperTaskError, prefix: str = "") -> None:
        """Note every problem that an error names, each with `prefix` before it."""
        self._found += [prefix + problem for problem in error.problems or (str(error),)]

    def raise_if_any(self, error: type[SuperTaskError]) -> None:
        """Raise `error` naming all problems, if there are any."""
        if not self._found:
            return
        if len(self._found) == 1:
            # A problem with a place in the file that is checked names the file already.
            placed = self._found[0].startswith(f"{self.subject}:")
            message = self._found[0] if placed else f"{self.subject}: {self._found[0]}"
        else:
            listing = "\n".join(f"  - {m}" for m in self._found)
            message = f"{self.subject}: {len(self._found)} problems\n{listing}"
        raised = error(message)
        raised.problems = tuple(self._found)
        raise raised
