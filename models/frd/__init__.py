"""FRD-UVAD (IEEE TMM 2024) and the scorer of C2FPL.

Not here: the anomaly bank and pseudo labels (``losses.frd``, ``pre_process.features``).
"""
