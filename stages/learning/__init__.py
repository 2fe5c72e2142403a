"""The classifier: fitting, scoring, calibration, the model file, and the shortlist of a large pool."""
