"""Spatio-temporal cubes: files, memory-mapped sets, batches, cached reconstructions.

Not here: the extractor (``pre_process.cubes``) and published chunks (``published.chunks``).
"""
