"""From videos to what the networks read: boxes, flow, cubes, features."""
