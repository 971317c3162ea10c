"""The search on Ray: its start and end, trials, algorithms, and replicates on fresh seeds. The only room that knows Ray."""
