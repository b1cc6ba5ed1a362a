"""Ground truth: frame labels in every circulating format, masks, regions.

Not here: metrics (``evaluation``) and labels per snippet (``datasets.features.labels``).
"""
