"""Loss functions: pure functions of tensors; a stage's terms and weights in one place."""
