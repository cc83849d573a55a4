"""Run quanta in this process, in the same way whatever walks the plan.

`taskset` constructs tasks; `runner` is the one place that calls ``runQuantum``, `bundlerun` that for tasks
that take a bundle, `trial` is an attempt under way, with `logs`. `performer` starts, runs and ends one
quantum after another; `planview`, `places` and `fusion` say what it needs of the plan, `surroundings`,
`jobfolders` and `attemptfolders` what a call has around it. `recreation` runs one again, aside of its run.
"""
