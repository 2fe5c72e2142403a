"""The proof against random sampling: refits, curves, gap, saving, stopping panel and alarms."""
