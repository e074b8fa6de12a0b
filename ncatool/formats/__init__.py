"""Formats of other programs: one module for each export format, with a check of the written file, and the import."""
