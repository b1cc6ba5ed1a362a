"""Scoring streams as they come: capture, buffer, scorer, alarm log, result files."""
