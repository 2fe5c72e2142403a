"""The model on its way out: from a raw row to a calibrated probability, and its model card."""
