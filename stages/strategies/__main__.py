"""`python -m stages.strategies`: the table of strategies as Markdown, for docs/strategies.md."""

from __future__ import annotations

import sys

from stages.strategies.registry import markdown

sys.stdout.write(markdown())
