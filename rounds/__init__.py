"""The people's half of the loop: the `rounds` command and the annotation surfaces. May import `stages`."""

import stages  # noqa: F401  # first of all: it says how numpy is to add up
