"""From videos to network inputs: the scripts of this folder and what they are made of."""
