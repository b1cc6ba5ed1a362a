"""What ``benchmarks.gpu`` does: networks and inputs of any size, checks, rows of the table."""
