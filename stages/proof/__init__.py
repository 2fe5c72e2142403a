"""The proof against random sampling: history of labels, refits, curves, gap, saving, stopping, alarms."""
