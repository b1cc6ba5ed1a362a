"""The synthetic street scene of the demo, and synthetic clip features.

Not here: anything that a real data set needs.
"""
