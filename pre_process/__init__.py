"""From videos to network inputs: the scripts of this folder and what they are made of.

Here: detectors, flow, cubes, clip features, preparation of data sets. Not here: reading what they
wrote (``datasets``), training (stage scripts), scoring (``inference``).
"""
