"""Ground truth: frame labels in every circulating format, masks, regions."""
