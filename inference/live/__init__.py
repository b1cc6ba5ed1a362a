"""Scoring streams as they come: capture, buffer, scorer, alarm log, result files.

Not here: what scores recordings (``inference``), drawing and reports (``visualization``).
"""
