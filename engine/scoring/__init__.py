"""Errors of cubes by a finished HF2-VAD network: PyTorch, OpenVINO or ONNX Runtime behind one call.

Here: the backends, which of them a device gets, the ONNX export. Not here: what errors mean
(``evaluation``) and where cubes come from (``datasets``, ``inference``).
"""
