"""What a search computes and keeps: space, replicates, records, journals, selection, results. No Ray, nothing drawn."""
