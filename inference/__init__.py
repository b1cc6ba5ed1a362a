"""Scoring with a finished checkpoint: whole videos here, streams in ``live/``.

Not here: training, boxes and flow (``pre_process``), scores and alarms (``evaluation``).
"""
