"""Spatio-temporal cubes: files, memory-mapped sets, batches, cached reconstructions."""
