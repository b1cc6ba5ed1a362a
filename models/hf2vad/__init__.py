"""HF2-VAD (Liu et al., ICCV 2021): flow autoencoder, frame predictor, their errors.

Not here: normalising and weighting errors (``evaluation.scores``).
"""
