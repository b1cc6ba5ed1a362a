"""Image networks trained by others, cut before their classifier: pictures to features.

Here: which there are, their input size and normalisation. Not here: devices and backends
(``engine.scoring.features``), what features are compared with (``evaluation.densities``).
"""
