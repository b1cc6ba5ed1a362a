"""Plumbing that knows no model and no data set: configuration, files, errors, processes."""
