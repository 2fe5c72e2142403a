"""The classifier: fitting, scoring, calibration, and the shortlist of a large pool."""
