"""What lies on disk and how it is read: videos, cubes, features, labels, the toy scene.

Here: ``dataset.json``, decoding, memory-mapped sets, their loaders. Not here: how cubes and
features are made (``pre_process``), networks, scores (``evaluation``), published
files (``published``).
"""
