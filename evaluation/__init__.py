"""From errors to numbers: scores, normalisation, smoothing, thresholds, alarms, metrics."""
