"""Where people answer: Prodigy, the page that comes with the project, Label Studio; and the simulated annotator."""
