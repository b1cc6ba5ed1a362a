"""Clip features and pseudo labels for FRD-UVAD.

Not here: feature files and loaders (``datasets.features``).
"""
