"""The type checker that runs under pytest; an int is a float, as for every other checker."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
