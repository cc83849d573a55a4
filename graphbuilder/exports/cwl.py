"""A plan as a workflow of the Common Workflow Language, version 1.2, written as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphbuilder.exports.nodes import Node, plain

__all__ = ["files"]

_VERSION = "v1.2"
_AGAIN = 75
"""What `run-bundle` exits with where the same may be run again."""


def files(nodes: Sequence[Node], title: str, plan: Path) -> dict[str, str]:
    """Return what is to be written: name of a file → its text."""
    said = {
        "workflow.cwl": _workflow(nodes, title),
        "bundle.cwl": _tool("run-bundle", bundle=True),
        "collect.cwl": _tool("collect", bundle=False),
        "inputs.json": {"plan": str(plan)},
    }
    return {name: json.dumps(value, indent=1, ensure_ascii=True) + "\n" for name, value in said.items()}


def _workflow(nodes: Sequence[Node], title: str) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    for node in nodes:
        steps[f"b{node.number}"] = {
            "label": f"{node.quanta} of {plain(', '.join(node.labels))}",
            "run": "bundle.cwl",
            "in": {"plan": "plan", "bundle": {"default": node.number}, "after": _after(node.after)},
            "out": ["done"],
        }
    everything = [node.number for node in nodes]
    steps["collect"] = {
        "run": "collect.cwl",
        "in": {"plan": "plan", "after": _after(everything)},
        "out": ["done"],
    }
    return {
        "cwlVersion": _VERSION,
        "class": "Workflow",
        "label": plain(title),
        "requirements": {"MultipleInputFeatureRequirement": {}},
        "inputs": {"plan": "string"},
        "outputs": {"report": {"type": "File", "outputSource": "collect/done"}},
        "steps": steps,
    }


def _after(numbers: Sequence[int]) -> dict[str, Any]:
    if not numbers:
        return {"default": []}
    return {"source": [f"b{number}/done" for number in numbers], "linkMerge": "merge_flattened"}


def _tool(command: str, *, bundle: bool) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        # A text and no File: the plan and its repository are read where they are.
        "plan": {"type": "string", "inputBinding": {"position": 1}},
        "after": {"type": "File[]"},
    }
    arguments: list[dict[str, Any]] = []
    if bundle:
        inputs["bundle"] = {"type": "int", "inputBinding": {"position": 2, "prefix": "--bundle"}}
        arguments = [{"position": 3, "valueFrom": "--next"}]
    return {
        "cwlVersion": _VERSION,
        "class": "CommandLineTool",
        "baseCommand": ["supertask", command],
        "arguments": arguments,
        "inputs": inputs,
        "outputs": {"done": {"type": "stdout"}},
        "stdout": "said.txt",
        "temporaryFailCodes": [_AGAIN],
    }
