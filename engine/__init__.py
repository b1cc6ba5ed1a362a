"""Training: the loop, what a stage is, its set-up, state, logs. No model, no data set."""
