"""Ingest: from folders of FITS files to datasets in a repository.

- `ingestion` holds `ingest`, which goes from top to bottom: `discovery` finds files, `reading` reads
  them in parallel, `known` and `unit_rows` settle who is what, `transfer` puts files in place;
  `report` says what came of it.
- `fitsfile` proves one file sound. `frames` says what a translator promises; `header_translator` is
  the declared one, made of `rules`, which `yaml_rules` reads; `find` gives one by name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supertask.ingest.find import find_translator
    from supertask.ingest.fitsfile import FitsFile
    from supertask.ingest.frames import Combine, Frame, Translator
    from supertask.ingest.header_translator import HeaderTranslator
    from supertask.ingest.ingestion import ingest
    from supertask.ingest.report import IngestReport
    from supertask.ingest.transfer import Transfer

_HOME = {
    "Combine": "frames",
    "FitsFile": "fitsfile",
    "Frame": "frames",
    "HeaderTranslator": "header_translator",
    "IngestReport": "report",
    "Transfer": "transfer",
    "Translator": "frames",
    "find_translator": "find",
    "ingest": "ingestion",
}

__all__ = [
    "Combine",
    "FitsFile",
    "Frame",
    "HeaderTranslator",
    "IngestReport",
    "Transfer",
    "Translator",
    "find_translator",
    "ingest",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
