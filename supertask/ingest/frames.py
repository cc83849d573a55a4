"""The translator port: from a FITS file to the units and datasets that it holds.

`HeaderTranslator` is the declared one, from YAML. One in Python is any object with these members; a
package offers it through the entry point group ``supertask.translators``. It is sent to other
processes, so it must be picklable, and its `frames` is called for many files of which most know
nothing of each other.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs

from supertask.datasets import Dataset
from supertask.ingest.fitsfile import FitsFile
from supertask.units import UnitModel

__all__ = ["Combine", "Frame", "Translator"]


class Combine(enum.Enum):
    """What a field of a unit is, where several frames state it and differ."""

    FIRST = "first"
    """That of the first frame, by file name."""
    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"


@attrs.frozen
class Frame:
    """One dataset in a FITS file."""

    dataset_type: str
    """Name of its type, one of the translator's `dataset_types`."""
    values: Mapping[str, Any]
    """``unit`` → key and ``unit.field`` → value; times are TAI ns. None for what has no value."""
    hdu: int = 0
    """HDU that holds it."""
    fragment: bool = False
    """Whether its location must name the HDU (``path#hdu=2``): not if the file is this frame alone."""
    wcs: str = "header"
    """Where its WCS is: ``header``, the path of a file with one, or ``none``."""


@runtime_checkable
class Translator(Protocol):
    """What ingest asks of a translator."""

    @property
    def name(self) -> str:
        """What it is called, in messages and in the run that is made."""

    @property
    def dataset_types(self) -> Mapping[str, type[Dataset]]:
        """Name → type of all that it may find."""

    @property
    def ignore_cards(self) -> Sequence[str]:
        """Shell patterns of cards that may be invalid, see `supertask.ingest.fitsfile.read_fits`."""

    @property
    def combine(self) -> Mapping[str, Combine]:
        """``unit.field`` → what to do where frames differ; the first counts unless said here."""

    def check(self, model: UnitModel) -> None:
        """Check that it fits a unit model.

        Raises
        ------
        IngestError
            Names every unit or field that is unknown, missing or of another type.
        """

    def frames(self, file: FitsFile, model: UnitModel) -> Sequence[Frame]:
        """Return what a file holds; nothing if it is to be passed over.

        Raises
        ------
        IngestError
            The file lacks a card or has a value that cannot be understood; says all of them.
        """
