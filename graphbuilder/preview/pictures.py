"""The graph of a plan as a picture."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from graphbuilder.preview.figures import figure, save
from graphbuilder.preview.graph import Node, PlanGraph
from graphbuilder.preview.layout import place

__all__ = ["draw_graph"]

_LINE = 0.17
"""Inches from one line of text to the next."""
_CHARACTER = 0.082
_STEP = 0.92
"""Inches from one layer to the next."""
_TASK = ("#d6e4f0", "#2b5c8a")
_MADE = ("#ffffff", "#8a8f98")
_GIVEN = ("#f6eeda", "#a5812c")
_INK = "#1d2430"
_QUIET = "#5c6470"


def draw_graph(graph: PlanGraph, path: str | Path, *, title: str = "") -> None:
    """Draw tasks and dataset types of a plan, from what is there at the top to what is made last.

    Parameters
    ----------
    graph : PlanGraph
        What to draw.
    path : path
        File to write; its ending says the format (png, pdf, svg).
    title : str, optional
        Above it.

    Raises
    ------
    PreflightError
        matplotlib is not installed, or the file cannot be written.
    """
    widths = [_width(node) for node in graph.nodes]
    laid = place(len(graph.nodes), [(a, b) for a, b, _ in graph.edges], widths)
    half = [w / 2 for w in widths]
    right = max((x + h for x, h in zip(laid.x, half, strict=True)), default=1.0)
    left = min((x - h for x, h in zip(laid.x, half, strict=True)), default=0.0)
    for way in laid.ways:
        right, left = max(right, *(p[0] for p in way)), min(left, *(p[0] for p in way))
    rows = int(laid.layer.max(initial=0)) + 1
    width, height = right - left + 0.6, rows * _STEP + 1.0
    made = figure(max(width, 4.5), height)
    axes = made.add_axes((0, 0, 1, 1))
    middle, spare = (left + right) / 2, max(width, 4.5) / 2
    axes.set_xlim(middle - spare, middle + spare)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    axes.text(middle - spare + 0.25, 0.3, _plain(title), fontsize=12, weight="bold", color=_INK, va="center")
    words = "blue: tasks · white: made by the plan · yellow: there before"
    axes.text(middle - spare + 0.25, 0.55, words, fontsize=7.5, color=_QUIET, va="center")
    for (a, b, _), way in zip(graph.edges, laid.ways, strict=True):
        _edge(axes, graph.nodes[a], graph.nodes[b], [(x, _y(level)) for x, level in way])
    for i, node in enumerate(graph.nodes):
        _box(axes, node, float(laid.x[i]), _y(float(laid.layer[i])), widths[i])
    save(made, path)


def _y(layer: float) -> float:
    return 1.15 + layer * _STEP


def _plain(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def _width(node: Node) -> float:
    longest = max(len(node.name) * 1.08, len(_second(node)) * 0.88)
    return longest * _CHARACTER + 0.32


def _second(node: Node) -> str:
    return node.counted + (f" · {', '.join(node.units)}" if node.units else "")


def _box(axes: Any, node: Node, x: float, y: float, width: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, edge = _TASK if node.is_task else _MADE if node.made else _GIVEN
    height = 0.46
    style = f"round,pad=0,rounding_size={0.06 if node.is_task else height / 2}"
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle=style, facecolor=fill, edgecolor=edge,
            linewidth=1.4 if node.is_task else 1.0, zorder=3,
        )
    )  # fmt: skip
    weight = "bold" if node.is_task else "normal"
    name = {"color": _INK, "ha": "center", "va": "center", "zorder": 4}
    axes.text(x, y - _LINE / 2, _plain(node.name), fontsize=9, weight=weight, **name)
    axes.text(x, y + _LINE / 2 + 0.01, _plain(_second(node)), fontsize=7, **{**name, "color": _QUIET})


def _edge(axes: Any, a: Node, b: Node, points: list[tuple[float, float]]) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Outline

    points = [(points[0][0], points[0][1] + 0.23), *points[1:-1], (points[-1][0], points[-1][1] - 0.25)]
    vertices, codes = [points[0]], [Outline.MOVETO]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        bend = (y1 - y0) * 0.5
        vertices += [(x0, y0 + bend), (x1, y1 - bend), (x1, y1)]
        codes += [Outline.CURVE4] * 3
    color = _TASK[1] if a.is_task else _GIVEN[1] if not a.made else _MADE[1]
    axes.add_patch(
        FancyArrowPatch(
            path=Outline(vertices, codes), arrowstyle="-|>,head_length=3.2,head_width=1.8", color=color,
            linewidth=0.9, alpha=0.75, zorder=1 if b.is_task else 2, shrinkA=0, shrinkB=0,
        )
    )  # fmt: skip
