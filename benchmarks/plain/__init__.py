"""HF2-VAD (arXiv 2108.06852) in the plainest way: what our speed is compared with.

Written from the paper's description and the published formats, with the published tensor names, so
that our weights fit. Nothing in it is meant to be fast: normalisations stand beside their
convolutions, every flow is a pass of its own, the prior runs at test too, tensors are contiguous
float32, cubes are converted one by one, flow goes through files.
"""
