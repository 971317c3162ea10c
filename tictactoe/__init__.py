"""Self-play Q-learning on m,n,k games, and the search for its hyperparameters. docs/architecture.md shows the rooms."""
