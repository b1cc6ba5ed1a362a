"""What makes scoring on a CPU fast: each file does one thing, and all of it is optional."""
