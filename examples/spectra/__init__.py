"""Spectra of stars and galaxies: SDSS's products, their noise, their continuum.

- `products`: SDSS's data products by name: paths ↔ what they say, dataset types; `sdss_tree.yaml` has them.
- `rows`: the combined spectrum and the visits of an apStar; which visits SDSS combines; their mean.
- `snr`: signal to noise of spectra.
- `continuum`: continua by weighted least squares: polynomials, sines and cosines, a scalar.
- `tasks`: all of it as SuperTasks; `pipeline.yaml` puts them together.
- `apogee_headers.yaml`, `spec_headers.yaml`: which cards give which units, for ingest.

Files are read by the storage format ``spectrum``.
"""
