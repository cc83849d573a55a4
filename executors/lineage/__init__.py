"""Where data came from, and what was made of them: across quanta, plans and runs.

- `values`: datasets, quanta and runs as `Provenance` shows them.
- `archive`: what one run left behind of itself: its plans, its journal.
- `homes`: in which run a dataset is, and whether its file is what was registered.
- `trace`: goes up and down from a dataset; `provenance` and `run_lineage` are what others call.
- `prov`: the same as a W3C PROV document.
"""
