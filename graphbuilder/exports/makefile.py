"""A plan as a Makefile, for GNU make."""

from __future__ import annotations

from collections.abc import Sequence

from graphbuilder.exports.nodes import Node, plain

__all__ = ["files"]

_HEAD = """\
# {title}
#
#   make -j 8                          in this folder; the same again goes on where it was
#   make SUPERTASK='python -m …'       if the program is not on the path

SUPERTASK ?= supertask
PLAN := plan.h5

.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: all
all: done/collected

done/b%: | done
\t$(SUPERTASK) run-bundle $(PLAN) --bundle $* --next
\t@touch $@

done:
\t@mkdir -p $@

done/collected: {everything}
\t$(SUPERTASK) collect $(PLAN)
\t@touch $@
"""


def files(nodes: Sequence[Node], title: str) -> dict[str, str]:
    """Return what is to be written: name of a file → its text."""
    everything = " ".join(f"done/b{node.number}" for node in nodes)
    lines = [_HEAD.format(title=plain(title), everything=everything)]
    for node in nodes:
        words = " ".join(f"done/b{number}" for number in node.after)
        lines.append(f"# {node.quanta} of {plain(', '.join(node.labels))}")
        lines.append(f"done/b{node.number}: {words}".rstrip())
    return {"Makefile": "\n".join(lines) + "\n"}
