"""Grow images from one cell: neural cellular automata, trained, shown and measured."""
