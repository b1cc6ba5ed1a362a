"""What we measure, and against what: speed, growth, long runs, seeds, licences.

Here: commands (``python -m benchmarks.NAME``) and the plain implementation in ``plain/``. Not here:
anything that the product imports.
"""
