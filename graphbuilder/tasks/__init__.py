"""What is worked out of each task of a pipeline while it is planned.

`checks` refuse, `variants` (with `variantcontracts`) are what overrides on data make, `taskkeys` are
for identities, `taskoverheads` for bundles.
"""
