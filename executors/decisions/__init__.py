"""Decide what runs next, and what becomes of what failed: over plain values, without I/O.

`schedule` says which quantum may run next, with `bundles` and `bundlewalk` for those that run together and
`work` for what it hands out; `quorum` whether one may run without inputs that failed, `policy` whether one
that failed is tried again, `budget` how much failure a run bears.
"""
