"""What every room relies on: errors, params, canonical JSON, identity, progress, shell."""
