"""Where people answer: the page, Prodigy, Label Studio; and the simulated annotator."""
