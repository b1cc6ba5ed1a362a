"""Clip features and pseudo labels for FRD-UVAD."""
