"""Worked examples: pipelines that do true science, to read, to run and to begin one's own from.

- `isr`: raw frames → images without the camera's signature, and the calibrations that this takes.
- `coadd`: images of visits → warps onto patches of the sky → coadds → catalogues, and forced photometry.
- `hatp32`: a planet's transit in 24 frames of a small telescope that drifts, by the tasks of `coadd`.
- `demo`: a simulated survey with known truth through all of it: ``supertask demo``.

In each, modules of plain functions come first and know nothing of pipelines; `tasks` wraps them as
SuperTasks, and pipeline files in YAML put the tasks together.
"""
