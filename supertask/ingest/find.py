"""Finding a translator by name, file or as it is."""

from __future__ import annotations

from pathlib import Path

from supertask.errors import IngestError, did_you_mean
from supertask.ingest.frames import Translator
from supertask.ingest.header_translator import HeaderTranslator

__all__ = ["ENTRY_POINT_GROUP", "find_translator"]

ENTRY_POINT_GROUP = "supertask.translators"
"""Each entry point is a `Translator`, or a class or function without arguments that gives one."""


def find_translator(source: str | Path | Translator) -> Translator:
    """Return a translator.

    Parameters
    ----------
    source : str or pathlib.Path or Translator
        A path of a YAML file, YAML text of several lines, the name of one that a package offers, or
        a translator itself.

    Raises
    ------
    IngestError
        There is no such translator, or it is not valid.
    """
    if not isinstance(source, str | Path):
        if isinstance(source, Translator):
            return source
        raise IngestError(f"{source!r} is no translator: it lacks members of supertask.ingest.Translator")
    text = str(source)
    if isinstance(source, Path) or "\n" in text or text.endswith((".yaml", ".yml")):
        return HeaderTranslator.from_yaml(source)
    from importlib.metadata import entry_points

    offered = {e.name: e for e in entry_points(group=ENTRY_POINT_GROUP)}
    if text not in offered:
        raise IngestError(
            f"there is no translator {text!r}{did_you_mean(text, offered)}; "
            f"installed are {', '.join(sorted(offered)) or 'none'}, or give the path of a .yaml file"
        )
    found = offered[text].load()
    if not isinstance(found, Translator) or isinstance(found, type):
        found = found()
    if not isinstance(found, Translator):
        raise IngestError(f"entry point {offered[text].value!r} gives no translator but {found!r}")
    return found
