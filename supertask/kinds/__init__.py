"""Kinds of config fields: what a value of each type may be, from Python, from text and from files.

`base` says what a kind is and how problems know their place; `scalars` and `containers` are the
kinds; `annotations` finds the kind that a type annotation means.
"""
