"""Evaluation: the measures of one model, and several models as a table, CSV, JSON or an HTML report."""
