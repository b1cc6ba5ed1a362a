"""The streaming cube extractor and the extraction of whole data sets."""
