"""The game, the learner, and what its table is worth, exactly. NumPy and Numba alone: no settings, no Ray, no W&B."""
