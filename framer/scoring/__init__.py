"""Scores of restored images under named protocols."""
