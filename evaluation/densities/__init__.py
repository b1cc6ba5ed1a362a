"""How far a cube's appearance and velocity are from those of normal cubes, with nothing trained.

After AI-VAD (Reiss and Hoshen, arXiv 2212.00789): a bank of features of normal cubes, and the
distance to the nearest of them. Here: features of flow, the bank, distances. Not here: the network
behind appearance (``models.backbones``), on a device (``engine.scoring.features``).
"""
