"""Training: the loop, what a stage is, its set-up, resuming, logs.

Here too: the scoring of cubes (``scoring/``). Not here: networks (``models``), loss terms
(``losses``), what errors mean (``evaluation``), reports (``visualization``).
"""
