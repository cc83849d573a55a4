"""Pictures of coadds, and of what was recovered against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.visualization import AsinhStretch, ImageNormalize
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["draw_coadds", "draw_colour", "draw_light_curve", "draw_truth"]

_PLAIN: dict[str, Any] = {"Software": None}


def draw_coadds(path: Path, coadds: Mapping[str, CCDData], depths: Mapping[str, CCDData]) -> None:
    """Draw the coadd of each band, and beside it how many visits each pixel has.

    Parameters
    ----------
    path : Path
        File, PNG.
    coadds, depths : Mapping
        Band → image of a whole tract.
    """
    ny, nx = next(iter(coadds.values())).shape
    figure = _figure(11, (4.2 * ny / nx + 0.7) * len(coadds))
    for row, (band, coadd) in enumerate(coadds.items()):
        image = figure.add_subplot(len(coadds), 2, 2 * row + 1, projection=coadd.wcs)
        image.imshow(_shown(coadd), norm=_norm(coadd), cmap="gray_r", origin="lower", interpolation="none")
        image.set_title(f"{band}: coadd")
        depth = figure.add_subplot(len(coadds), 2, 2 * row + 2, projection=coadd.wcs)
        drawn = depth.imshow(depths[band].data, cmap="viridis", origin="lower", interpolation="none")
        figure.colorbar(drawn, ax=depth, fraction=0.046, pad=0.02)
        depth.set_title(f"{band}: visits")
        for axes in (image, depth):
            for coordinate, side, name in zip(
                axes.coords, "bl", ("right ascension", "declination"), strict=True
            ):
                coordinate.set_ticklabel_position(side)
                coordinate.set_axislabel_position(side)
                coordinate.set_axislabel(name)
    _save(figure, path)


def draw_colour(path: Path, red: CCDData, blue: CCDData) -> None:
    """Draw two bands as one picture in colour, a pixel for a pixel, north up.

    Parameters
    ----------
    path : Path
        File, PNG.
    red, blue : CCDData
        Coadds of the redder and the bluer band, in one unit.
    """
    from matplotlib.image import imsave

    whole = [_shown(red), (_shown(red) + _shown(blue)) / 2, _shown(blue)]
    # One stretch of the whole light, so that colours stay what they are from faint to bright (Lupton et al.
    # 2004, PASP 116, 133).
    light = np.mean(whole, axis=0)
    noise = _noise(red)
    stretched = np.arcsinh(np.maximum(light + noise, 0) / (3 * noise)) / np.arcsinh(1000.0)
    factor = stretched / np.maximum(light, noise / 10)
    colours = np.stack([np.maximum(w + noise / 2, 0) * factor for w in whole], axis=-1)
    for image in (red, blue):
        if image.mask is not None:
            colours[image.mask] = 0.0
    colours /= np.maximum(colours.max(axis=-1, keepdims=True), 1.0)
    # Without the version of matplotlib, so that equal pictures are equal files.
    imsave(path, np.flipud(np.clip(colours, 0, 1)), metadata=_PLAIN)


def draw_truth(path: Path, table: Table, bands: Sequence[str]) -> None:
    """Draw positions and fluxes against the truth.

    Parameters
    ----------
    path : Path
        File, PNG.
    table : astropy.table.Table
        As `against_truth` gives it.
    bands : sequence of str
        The bands.
    """
    figure = _figure(12, 3.6 * (len(bands) + 1))
    found = table[table["found"]]
    rows = len(bands) + 1
    where = figure.add_subplot(rows, 2, 1)
    where.plot(found["east"], found["north"], ".", ms=3, alpha=0.6)
    where.axhline(0, lw=0.5, color="k")
    where.axvline(0, lw=0.5, color="k")
    reach = 4 * float(np.nanstd(found["north"])) or 1.0
    where.set(xlim=(reach, -reach), ylim=(-reach, reach), aspect="equal")
    where.set(xlabel="east, measured - true [mas]", ylabel="north [mas]", title="positions")
    complete = figure.add_subplot(rows, 2, 2)
    for band in bands:
        centres, part = _completeness(table, band)
        complete.plot(centres, part, drawstyle="steps-mid", label=band)
    complete.set(xlabel="true magnitude", ylabel="part found", ylim=(0, 1.05), title="completeness")
    complete.legend()
    for row, band in enumerate(bands):
        whole = found[found[f"{band}_bad"] == 0]
        magnitude = whole[f"{band}_mag_true"]
        flux, true, error = (
            np.asarray(whole[f"{band}_{name}"]) for name in ("flux", "flux_true", "flux_err")
        )
        ratio = figure.add_subplot(rows, 2, 3 + 2 * row)
        ratio.errorbar(magnitude, flux / true, error / true, fmt=".", ms=3, lw=0.4, alpha=0.6)
        ratio.axhline(1, lw=0.5, color="k")
        ratio.set(
            ylim=(0.7, 1.3), xlabel=f"{band}, true", ylabel="flux, measured / true", title=f"{band}: fluxes"
        )
        pull = figure.add_subplot(rows, 2, 4 + 2 * row)
        pull.hist((flux - true) / error, bins=np.arange(-5, 5.1, 0.25).tolist(), density=True, alpha=0.6)
        x = np.linspace(-5, 5, 200)
        pull.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="k", lw=0.8)
        pull.set(xlabel="(measured - true) / error", title=f"{band}: are errors right?")
    _save(figure, path)


def draw_light_curve(path: Path, curve: Table, transit: Mapping[str, Any]) -> None:
    """Draw a light curve with the transit that was fitted.

    Parameters
    ----------
    path : Path
        File, PNG.
    curve : astropy.table.Table
        Columns bjd_tdb, flux, fit.
    transit : Mapping
        Values of a `Transit`.
    """
    figure = _figure(8, 4.5)
    axes = figure.add_subplot()
    day = float(np.floor(curve["bjd_tdb"][0]))
    time = np.asarray(curve["bjd_tdb"]) - day
    axes.errorbar(time, curve["flux"], transit["scatter"], fmt="o", ms=4, lw=0.8)
    axes.plot(time, curve["fit"], color="k", lw=1)
    axes.axvline(transit["mid_time"] - day, lw=0.5, color="k", ls=":")
    axes.set(xlabel=f"BJD (TDB) - {day:.0f}", ylabel="relative flux")
    axes.set_title(
        f"middle {transit['mid_time']:.4f} ± {transit['mid_time_error']:.4f}, "
        f"depth {100 * transit['depth']:.2f} ± {100 * transit['depth_error']:.2f} %"
    )
    _save(figure, path)


def _completeness(table: Table, band: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    edges = np.arange(15.0, 24.01, 0.5)
    here = table[table["covered"]]
    true, _ = np.histogram(here[f"{band}_mag_true"], edges)
    found, _ = np.histogram(here[f"{band}_mag_true"][here["found"]], edges)
    part = np.where(true > 0, found / np.maximum(true, 1), np.nan)
    return (edges[1:] + edges[:-1]) / 2, part


def _shown(image: CCDData) -> npt.NDArray[Any]:
    return (
        np.asarray(image.data, dtype=float) if image.mask is None else np.where(image.mask, 0.0, image.data)
    )


def _noise(image: CCDData) -> float:
    good = image.data if image.mask is None else image.data[~image.mask]
    low, middle = np.percentile(good, [16, 50])
    return float(middle - low) or 1.0


def _norm(image: CCDData) -> ImageNormalize:
    noise = _noise(image)
    return ImageNormalize(vmin=-2 * noise, vmax=200 * noise, stretch=AsinhStretch(0.02))


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata=_PLAIN)
