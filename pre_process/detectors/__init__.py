"""Foreground boxes: detectors, regions of motion, box files."""
