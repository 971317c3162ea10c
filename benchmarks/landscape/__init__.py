"""Which tuner should I use? Ways of searching, scored where the truth is known: on a table of the default space."""
