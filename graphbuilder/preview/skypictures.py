"""Panels of the sky as a picture: RA grows to the left, north is up, shapes are true at the middle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbuilder.preview.figures import figure, save
from graphbuilder.preview.skyview import Panel

__all__ = ["draw_sky"]

_MOST_PANELS = 24
_MOST_OUTLINES = 20_000
_WIDE = 120.0
"""Degrees across, past which the whole sky is shown."""
_HIGH = 75.0
"""Declination past which meridians crowd, and the whole sky is shown."""
_INK, _QUIET, _BLUE = "#1d2430", "#5c6470", "#2b5c8a"


def draw_sky(panels: Sequence[Panel], path: str | Path, *, title: str = "") -> None:
    """Draw where quanta are, one panel beside the other on one scale.

    Parameters
    ----------
    panels : sequence of Panel
        What to draw; past 24 the rest is left out, and that is said.
    path : path
        File to write; its ending says the format (png, pdf, svg).
    title : str, optional
        Above all.

    Raises
    ------
    PreflightError
        matplotlib is not installed, or the file cannot be written.
    """
    shown = panels[:_MOST_PANELS]
    frame = _Frame(shown)
    columns = int(np.ceil(np.sqrt(len(shown)))) if len(shown) > 3 else len(shown)
    rows = -(-len(shown) // columns)
    wide = 3.0 if not frame.whole else 4.4
    tall = float(np.clip(wide * frame.aspect, 1.6, 5.0))
    made = figure(columns * (wide + 0.85) + 0.6, rows * (tall + 0.75) + 0.75)
    width, height = made.get_size_inches()
    left_out = f" (the first {_MOST_PANELS} of {len(panels)})" if len(panels) > len(shown) else ""
    made.text(0.3 / width, 1 - 0.3 / height, _plain(title + left_out), fontsize=12, weight="bold", color=_INK,
              va="center")  # fmt: skip
    for i, panel in enumerate(shown):
        row, column = divmod(i, columns)
        x = (0.75 + column * (wide + 0.85)) / width
        y = 1 - (0.85 + row * (tall + 0.75) + tall) / height
        axes = made.add_axes(
            (x, y, wide / width, tall / height), projection="mollweide" if frame.whole else None
        )
        frame.draw(axes, panel)
        frame.label(axes, first=column == 0, last=i + columns >= len(shown))
    save(made, path)


class _Frame:
    """One frame for all panels."""

    def __init__(self, panels: Sequence[Panel]) -> None:
        corners = np.concatenate([o for p in panels for o in p.outlines])
        angle = np.deg2rad(corners[:, 0])
        self.ra = float(np.rad2deg(np.arctan2(np.sin(angle).mean(), np.cos(angle).mean()))) % 360
        dx = _from(corners[:, 0], self.ra)
        dec = corners[:, 1]
        self.dec = float((dec.min() + dec.max()) / 2)
        self.stretch = 1 / max(float(np.cos(np.deg2rad(self.dec))), 0.05)
        across = float(dx.max() - dx.min())
        self.whole = across > _WIDE or float(np.abs(dec).max()) > _HIGH
        if self.whole:
            self.ra = round(self.ra / 30) * 30 % 360
        self.ra_middle = self.ra + float(dx.max() + dx.min()) / 2
        half = max(across / 2 / self.stretch, float(dec.max() - dec.min()) / 2, 1e-3) * 1.06
        half_x = max(across / 2 * 1.06, 0.3 * half * self.stretch)
        half_y = max(float(dec.max() - dec.min()) / 2 * 1.06, 0.3 * half)
        self.x = (self.ra_middle - half_x, self.ra_middle + half_x)
        self.y = (self.dec - half_y, self.dec + half_y)
        self.aspect = 0.5 if self.whole else half_y / (half_x / self.stretch)

    def draw(self, axes: Any, panel: Panel) -> None:
        """Draw the outlines of a panel."""
        from matplotlib.collections import PolyCollection

        outlines = [self._moved(o) for o in panel.outlines]
        varying = len(panel.counts) > 0 and int(panel.counts.min()) != int(panel.counts.max())
        single = panel.stacked or not varying
        if self.whole or len(outlines) > _MOST_OUTLINES:
            centres = np.array([o.mean(axis=0) for o in outlines])
            drawn = axes.scatter(
                centres[:, 0], centres[:, 1], s=4, linewidths=0, alpha=0.5 if single else 1.0,
                c=_BLUE if single else panel.counts, cmap=None if single else "viridis",
            )  # fmt: skip
        else:
            # Where many lie upon one another, each is fainter, so that depth shows.
            alpha = 1.0 if not single else 0.55 if not panel.stacked else max(0.5 / _depth(outlines), 0.02)
            colors: dict[str, Any] = (
                {"facecolors": (*_rgb(_BLUE), alpha), "edgecolors": (*_rgb(_BLUE), min(1.0, alpha * 2.5))}
                if single
                else {"array": panel.counts, "cmap": "viridis", "edgecolors": "white"}
            )
            drawn = PolyCollection(outlines, linewidths=0.5, **colors)
            axes.add_collection(drawn)
        if not single:
            self._bar(axes, drawn, panel)
        places = f"{len(outlines):,} {'footprint' if panel.stacked else 'patch'}"
        plural = "" if len(outlines) == 1 else "s" if panel.stacked else "es"
        if not varying and len(outlines) > 1 and int(panel.counts[0]) > 1:
            plural += f", {int(panel.counts[0]):,} at each"
        quanta = f"{panel.quanta:,} {'quantum' if panel.quanta == 1 else 'quanta'}"
        axes.set_title(
            _plain(panel.title), fontsize=9.5, weight="bold", color=_INK, loc="left", pad=5 + 4 * self.whole
        )
        axes.set_title(
            f"{quanta} · {places}{plural}", fontsize=7, color=_QUIET, loc="right", pad=6 + 4 * self.whole
        )

    def _bar(self, axes: Any, drawn: Any, panel: Panel) -> None:
        from matplotlib.ticker import MaxNLocator

        box = axes.inset_axes((1.02, 0.0, 0.035, 1.0))
        bar = axes.figure.colorbar(drawn, cax=box)
        bar.ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        bar.ax.tick_params(labelsize=6, colors=_QUIET, length=2)
        bar.outline.set_linewidth(0.4)

    def _moved(self, outline: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.whole:
            # Mollweide runs from -180 to 180 to the right: RA is counted down, so that it grows to the left.
            x = -np.deg2rad(_from(outline[:, 0], self.ra))
            return np.stack([x, np.deg2rad(outline[:, 1])], axis=1)
        return np.stack([self.ra + _from(outline[:, 0], self.ra), outline[:, 1]], axis=1)

    def label(self, axes: Any, *, first: bool, last: bool) -> None:
        """Set limits, ticks and their words."""
        axes.grid(visible=True, linewidth=0.3, color="#c4c9d0", zorder=0)
        axes.set_axisbelow("line" if self.whole else True)
        axes.tick_params(labelsize=6.5, colors=_QUIET, length=2)
        if self.whole:
            from matplotlib.patheffects import withStroke

            axes.set_xticks(np.deg2rad(np.arange(-120, 121, 60)))
            words = axes.set_xticklabels([f"{(self.ra - d) % 360:.0f}°" for d in range(-120, 121, 60)])
            for word in words:  # they stand amid what is drawn
                word.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
                word.set_zorder(10)
            axes.set_yticks(np.deg2rad((-60, -30, 0, 30, 60)))
            axes.spines["geo"].set_color("#9aa1ab")
            axes.spines["geo"].set_linewidth(0.6)
            return
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes.set_xlim(self.x[1], self.x[0])
        axes.set_ylim(*self.y)
        axes.set_aspect(self.stretch, adjustable="box")
        for axis, span in ((axes.xaxis, self.x[1] - self.x[0]), (axes.yaxis, self.y[1] - self.y[0])):
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 4, 5, 10]))
            digits = int(np.clip(np.ceil(-np.log10(span / 4)), 0, 6))
            around = 360.0 if axis is axes.xaxis else None
            axis.set_major_formatter(FuncFormatter(_degrees(digits, around)))
        for spine in axes.spines.values():
            spine.set_color("#9aa1ab")
            spine.set_linewidth(0.6)
        if first:
            axes.set_ylabel("Dec (deg)", fontsize=7, color=_QUIET)
        if last:
            axes.set_xlabel("RA (deg)", fontsize=7, color=_QUIET)


def _degrees(digits: int, around: float | None) -> Any:
    def said(value: float, _: int) -> str:
        return f"{value % around if around else value:.{digits}f}"

    return said


def _from(ra: npt.NDArray[np.float64], middle: float) -> npt.NDArray[np.float64]:
    """Return RA as degrees from a middle, -180 to 180."""
    away: npt.NDArray[np.float64] = (ra - middle + 180) % 360 - 180
    return away


def _depth(outlines: Sequence[npt.NDArray[np.float64]]) -> float:
    """Return about how many footprints lie upon one another."""
    boxes = np.array([np.ptp(o, axis=0) for o in outlines])
    every = np.concatenate(outlines)
    whole = float(np.prod(np.maximum(np.ptp(every, axis=0), 1e-12)))
    return max(1.0, float(np.prod(boxes, axis=1).sum()) / whole)


def _rgb(color: str) -> tuple[float, float, float]:
    return (int(color[1:3], 16) / 255, int(color[3:5], 16) / 255, int(color[5:7], 16) / 255)


def _plain(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")
