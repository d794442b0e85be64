"""Scores that were computed before."""
