"""Keep and delete what a run made: each deletion is in the journal first.

`collect` registers outputs in bulk; `retention` decides what may go (`wishes` keeps what was said of it) and
`deletion` deletes it; `clobbering` removes what a plan replaces; `leftovers` is what a killed process leaves
on disk.
"""
