"""FRD-UVAD in the training loop: its stages, snippet scores, a diagnosis that needs no labels.

Not here: networks (``models.frd``), losses (``losses``), pseudo labels (``pre_process.features``).
"""
