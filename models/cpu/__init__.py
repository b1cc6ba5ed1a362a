"""The networks' layers once more, faster on a CPU: for scoring, one for bfloat16 training."""
