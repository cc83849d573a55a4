"""How quanta are merged in bundles, step by step.

`graphbuilder.batcher` is the front, and `graphbuilder.sizing` says how large bundles should be.

- `codes`: equal rows, texts and sets of numbers get equal integers, exactly (no hashes that could collide).
- `keys`: which quanta share overhead.
- `weights`: what each quantum costs: seconds, bytes of input, memory; cost models.
- `order`: neighbours that share data lie together.
- `cuts`: where a run of quanta is cut, so that every bundle keeps within limits, or n bundles come out.
- `clusters`: quanta of several tasks together, such that the graph of bundles has no cycle.
- `parts`: subsets and splits of bundles that were made.

All work on columns, nothing loops over quanta in Python but what a user's function does.
"""
