"""Deal with this machine: processes and all they started, what they used and may use, and signals.

`starting` is in what new processes start, `processes` finds and ends them, `resources` measures, `limits`
bounds, `signals` ends a run in order.
"""
