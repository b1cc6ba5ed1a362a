"""Videos and cameras scored by FRD-UVAD: snippet features as frames come, scores, alarms, report.

Not here: the extraction of a data set's features (``pre_process.extract_features``).
"""
