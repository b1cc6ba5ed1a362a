"""Clip features: files, memory-mapped sets, batches of snippets, labels.

Not here: the networks that make them and pseudo labels (``pre_process.features``).
"""
