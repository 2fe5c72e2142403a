"""The feature store: index, parts of a large pool, space of distances, near duplicates, workers."""
