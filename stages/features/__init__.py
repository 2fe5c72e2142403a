"""Making features: of whole tables, of parts, and embeddings."""
