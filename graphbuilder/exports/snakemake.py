"""A plan as a Snakefile, with its graph in a file of JSON beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from graphbuilder.exports.nodes import Node, plain

__all__ = ["files"]

_RULES = """\
# {title}
#
#   snakemake --cores 8                in this folder; the same again goes on where it was
#   snakemake … --config supertask='python -m …'       if the program is not on the path

import json
from pathlib import Path

HERE = Path(workflow.basedir)
NODES = json.loads((HERE / "bundles.json").read_text(encoding="utf-8"))
SUPERTASK = config.get("supertask", "supertask")
PLAN = str(HERE / "plan.h5")


wildcard_constraints:
    number=r"\\d+",


localrules:
    all,
    collect,


rule all:
    input:
        "done/collected",


rule bundle:
    input:
        lambda wildcards: [f"done/b{{n}}" for n in NODES[wildcards.number]["after"]],
    output:
        touch("done/b{{number}}"),
    params:
        plan=PLAN,
    resources:
        mem_mb=lambda wildcards: NODES[wildcards.number]["mem_mb"] or 1024,
        runtime=lambda wildcards: NODES[wildcards.number]["minutes"] or 60,
    shell:
        "{{SUPERTASK}} run-bundle {{params.plan:q}} --bundle {{wildcards.number}} --next"


rule collect:
    input:
        expand("done/b{{number}}", number=NODES),
    output:
        touch("done/collected"),
    params:
        plan=PLAN,
    shell:
        "{{SUPERTASK}} collect {{params.plan:q}}"
"""


def files(nodes: Sequence[Node], title: str) -> dict[str, str]:
    """Return what is to be written: name of a file → its text."""
    said = {
        str(node.number): {
            "tasks": node.labels,
            "quanta": node.quanta,
            "after": node.after,
            "mem_mb": math.ceil(node.memory / 1e6),
            "minutes": math.ceil(node.seconds / 60),
        }
        for node in nodes
    }
    return {
        "Snakefile": _RULES.format(title=plain(title)),
        "bundles.json": json.dumps(said, indent=0) + "\n",
    }
