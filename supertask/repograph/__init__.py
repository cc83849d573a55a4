"""RepoGraph: what the selected part of a repository holds and, step by step, will hold, in columns.

From the ground up: `columns` (grouping and joining of integers), `space` (the instances of units),
`tables` (datasets and quanta), `relate` (how rows of two tables belong together), `holdings` (the
tables of a RepoGraph), `grouped` (quanta in the making), `graph` (the RepoGraph itself), `declared`
(quanta of tasks that declare them), `absorb` (quanta made by hand).
"""
