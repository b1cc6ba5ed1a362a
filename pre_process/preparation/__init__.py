"""Archives and folders, as downloaded, to a data set of this project."""
