"""Optical flow estimators and flow files.

Not here: the FlowNet2 network itself (``models.flownet2``).
"""
