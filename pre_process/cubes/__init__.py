"""The streaming cube extractor and the extraction of whole data sets.

Not here: cube files and loaders (``datasets.cubes``).
"""
