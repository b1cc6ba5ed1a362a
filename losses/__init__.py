"""Loss functions: pure functions of tensors; a stage's terms and weights in one place.

Not here: networks (``models``), optimizers and processes (``engine``), the weights' defaults
(``utils.config``).
"""
