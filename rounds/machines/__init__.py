"""Machine annotators: asking them, and freezing what they said in data/machines."""
