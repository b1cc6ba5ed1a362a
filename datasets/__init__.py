"""What is on disk: videos, labels, cubes, features, and the synthetic scene."""
