"""Two plans beside each other, over common `plankeys`.

`plandiff` says which quanta only one has, `planchanges` what tasks differ in, `identitydiff` where identities
part; `restrict` plans a part of another.
"""
