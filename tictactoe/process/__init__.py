"""The life of Linux processes: environment, preflight, control groups, signals, and what a killed run leaves behind."""
