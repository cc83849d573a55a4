"""How one piece of work is done, and what is around it.

`task` and `supertask` are what authors derive from, `functions` makes a SuperTask of a function; `struct` is
what they return. `overheads` is what quanta share, `quantumparameters` what each has of its own, `bundles`
many at once. A call has `calls` (what surrounds it), `metadata` (notes of it), `pathfields` (files of its
own), `caching`. `initsource` and `initsteps` are there before it; `hooks`, `tokens` and `tags` are for its
job and its outputs; `configurable` replaces subtasks; `actions` come after the run.
"""
