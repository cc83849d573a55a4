"""The data-ID expression language: a text, and the condition that it means.

`language` reads, `builder` checks every part, `parts` and `values` are what it works with, `bindvalues` come
in by name, `lookups` need more than a row (tables, the sky); `contradictions` can never hold.
"""
