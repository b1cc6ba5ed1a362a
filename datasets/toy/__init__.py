"""The synthetic street scene of the demo, and synthetic clip features."""
