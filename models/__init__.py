"""Networks as the papers describe them. Constructors take plain arguments.

Not here: devices, processes, precision and backends (``engine``), losses (``losses``), detectors
and feature networks (``pre_process``).
"""
