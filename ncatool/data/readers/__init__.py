"""Readers of picture files, one module a kind of file; `registry` chooses among them."""
