"""What comes from outside, checked before it is used: checkpoints' tables, sizes, names.

Not here: reading a file format (``utils.safe_pickle``, ``utils.checkpoint``).
"""
