"""Plumbing that knows no model and no data set: configuration, files, errors, processes.

Not here: anything that needs another package of this project.
"""
