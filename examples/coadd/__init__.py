"""Coaddition: from images of visits to coadds of a sky map's patches, and catalogues of what is on them.

- `attach`: raw frame and plate solution → image of the sky, for a camera that needs no calibrations.
- `measure`: sky, stars, and fluxes in apertures.
- `calibrate`: astrometric and photometric zero points against a reference catalogue.
- `patches`: the pixels of a patch of a sky map.
- `warp`: images of one visit → one image on the pixels of a patch.
- `stack`: warps → coadd with variance and depth.
- `catalogue`: coadds of all bands → catalogue of a patch; patches → catalogue of a tract.
- `forced`: fluxes at given positions in the images of visits.
- `mosaic`: patches of a tract put together, to look at.
- `register`: shifts between frames without WCS; `psf_match`: images brought to one point-spread function.
- `tasks`: all of it as SuperTasks; `pipeline.yaml` puts them together.
"""
