"""Networks. Constructors take plain arguments, never a config object."""
