"""Clip features: files, memory-mapped sets, batches of snippets, labels."""
