"""Foreground boxes: detectors, regions of motion, box files.

Not here: cutting cubes out of boxes (``pre_process.cubes``).
"""
