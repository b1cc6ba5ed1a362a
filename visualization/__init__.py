"""What people look at: reports, plots, pictures, annotated videos, tables.

Not here: the numbers in them (``evaluation``).
"""
