"""What every room relies on: errors, params, canonical JSON, identity, progress, the shell of a stage."""
