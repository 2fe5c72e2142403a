"""The next batch: composing it, the guard against near duplicates, and its export."""
