"""Scoring with a finished checkpoint: backends, whole videos, ONNX export. Live: ``live/``."""
