"""The user's examples: reading tables, what a row holds, and where files are."""
