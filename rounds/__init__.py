"""The people's half of the loop: the `rounds` command and the annotation surfaces. May import `stages`."""
