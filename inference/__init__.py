"""Scoring with a finished checkpoint: whole videos here, streams in ``live/``."""
