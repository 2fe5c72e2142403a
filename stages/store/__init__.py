"""The feature store: its index, parts of a large pool, the space of distances, near duplicates, workers."""
