"""A planet in front of its star, seen with a 15 cm telescope.

24 frames of HAT-P-32 by MicroObservatory's telescope Cecilia (Whipple Observatory, 2017-12-20), which
drifts by 275 pixels in the night. Tasks of `examples.coadd` make a coadd of the field and measure its
stars in every frame; `transit` finds the planet in the light curve.

- `headers.yaml`: which cards give which units; `skymap.yaml`: four by two patches; `pipeline.yaml`:
  the steps.
- `repository`: frames, plate solutions and reference stars → a repository.
- `transit`: light curves → when the planet was in front of the star, and how much light it took.
"""
