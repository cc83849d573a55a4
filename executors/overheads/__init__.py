"""Pay once for what quanta share: a model, a grid, an open file.

`making` makes each object once for its key and takes its time, `store` keeps as many as fit, `shared` has the
processes of a machine hold one copy, laid out by `layout`.
"""
