"""What lies on disk and how it is read: videos, cubes, features, labels, the toy scene."""
