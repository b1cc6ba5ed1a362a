"""Shared ground: configuration, files, checkpoints, engine, scores, metrics, report."""
