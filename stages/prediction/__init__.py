"""The model on its way out: from a raw row to a calibrated probability, and the card that goes with it."""
