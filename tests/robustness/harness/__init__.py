"""Kill programs at random moments and see that nothing is lost: see ``kill.py``."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # threads do not survive a fork
