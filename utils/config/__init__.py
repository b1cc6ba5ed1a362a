"""YAML configurations: loading and overrides, and the keys of both systems.

Not here: published configurations (``published.config``).
"""
