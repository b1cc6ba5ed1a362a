"""Archives and folders, as downloaded, to a data set of this project.

Not here: label formats (``datasets.labels``) and the manifest (``datasets.manifest``).
"""
