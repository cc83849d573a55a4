"""From a repository to a RepoGraph.

`needs` says what a pipeline needs, `loading` reads that, `following` and `widening` narrow it and keep what
gathers need, `trimming` tells what an expression took; `lookups` asks the repository what only it knows.
"""
