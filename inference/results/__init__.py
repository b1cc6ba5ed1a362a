"""What is kept of whole videos while others are still to be scored.

Not here: how they are scored (``inference.offline``) and the report (``visualization``).
"""
