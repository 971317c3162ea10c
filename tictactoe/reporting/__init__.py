"""What people see of a search: progress, leaderboard, Weights & Biases, the report, and games against the winner."""
