"""Layers that several networks share.

Not here: layers of one network, which stand beside it.
"""
