"""Files of the published HF2-VAD code: configurations, weights, chunks, and how they are used.

Not here: our own formats (``datasets``, ``utils.checkpoint``) and the import command
(``pre_process``).
"""
