"""Speed of watching: a made-up camera, ``infer.py`` on it with viewers, the parts of a frame.

Not here: training, and speed beside a plain implementation (``benchmarks.run``).
"""
