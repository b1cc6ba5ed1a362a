"""Networks as the papers describe them. Constructors take plain arguments."""
