"""Relations between units, whatever they come from: loaded, looked through and compared in columns.

- `rowids` leads from columns of keys to a repository's row IDs and back.
- `given` loads a user's table of related data IDs, every row of it checked.
- `compared` holds what is stored against what it should be, and puts it right.

Spatial relations are computed in `supertask.sky`, which builds on this; look-ups in time are in
`supertask.temporal`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supertask.relations.compared import Comparison, compare_rows
    from supertask.relations.given import Loaded, load_relation
    from supertask.relations.rowids import RowIds

_HOME = {
    "Comparison": "compared",
    "Loaded": "given",
    "RowIds": "rowids",
    "compare_rows": "compared",
    "load_relation": "given",
}

__all__ = ["Comparison", "Loaded", "RowIds", "compare_rows", "load_relation"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
