"""Plan against what is there already.

`matching` looks identities up, `planning` leaves out what need not be made again, `reasons` says why the rest
must run; `clobber` says what would be replaced.
"""
