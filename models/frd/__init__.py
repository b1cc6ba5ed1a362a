"""FRD-UVAD (IEEE TMM 2024) and the scorer of C2FPL."""
