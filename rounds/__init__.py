"""The people's half of the loop: the `rounds` command and the annotation surfaces.

May import `stages`, never the reverse.

For other programs: `rounds.load(project)` is a project's model, ready to predict.
"""

import stages  # noqa: F401  # first of all: it says how numpy is to add up
from rounds.loading import load

__all__ = ["load"]
