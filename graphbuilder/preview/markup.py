"""Names as Mermaid and Graphviz take them, whatever they hold."""

from __future__ import annotations

import re

__all__ = ["for_dot", "for_mermaid"]


def for_mermaid(text: str) -> str:
    """Write whatever Mermaid or HTML could take for its own as an entity code of Mermaid's."""
    return re.sub(r"[^\w\s,.\-]", lambda found: f"#{ord(found[0])};", text.replace("\n", " "))


def for_dot(text: str) -> str:
    """Write text for a quoted string of Graphviz."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
