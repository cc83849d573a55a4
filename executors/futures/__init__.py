"""Run bundles as calls of a function that an engine makes on its workers: Dask and Parsl.

- `errand`: what is called there: runs one job, and ends it where it is told to;
- `children`: warm processes that it has for that;
- `framework`: what is the same for all such engines;
- `dask`, `parsl`: the engines; `site`: where their workers are, for the command line.
"""
