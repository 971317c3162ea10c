"""What the README claims, measured: each prints a table, and writes it as JSON with --json FILE."""
