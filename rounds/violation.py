"""What `rounds verify` finds: one line that names the commit, the file and what is wrong there."""

from __future__ import annotations

from dataclasses import dataclass

HERE = "working tree"


@dataclass(frozen=True)
class Violation:
    """What is wrong, in which commit (or the working tree), at which file and line.

    remedy: what to do about it, where the table in docs/history.md does not say it all.
    """

    check: str
    commit: str
    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        line = "; ".join(filter(None, [self.what, self.remedy]))
        return f"{self.commit[:12]}  {self.where}: {line}  [{self.check}]"
