"""From errors to numbers: scores, normalisation, smoothing, thresholds, alarms, metrics.

Here: functions of arrays, for both systems. Not here: networks and devices (``engine.scoring``),
label formats (``datasets.labels``), pictures (``visualization``).
"""
