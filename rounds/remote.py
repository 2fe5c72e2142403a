"""Whether the default DVC remote can be reached, asked before a close trains a model.

DVC itself tells no empty remote from one out of reach: it calls a file absent in both. So the
remote's folder is listed here, in a process of its own that is given some seconds, by DVC's own
file system with all that DVC's configuration says of it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds.commands import environment
from stages.contract.errors import PipelineError

SECONDS = 20  # within which a remote has to answer
OUT_OF_REACH = 3  # the exit code that says so; any other failure of the question proves nothing
PROMPTS = ("ask_password", "ask_passphrase")  # settings with which DVC asks a person
INTERACTIVE = ("gdrive",)  # file systems that open a browser
WEB = ("http", "https", "webdav", "webdavs")


@dataclass(frozen=True)
class Remote:
    """The default DVC remote of a project; both fields are empty where there is none."""

    root: Path
    name: str
    url: str

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that it is, where a push costs little; None for any other."""
        path = self.url.removeprefix("file://")
        if not path or "://" in path:
            return None
        return self.root / ".dvc" / path  # DVC takes it from there; an absolute one stays

    def fault(self) -> PipelineError | None:
        """Why it cannot be reached, None where it can, or where there is none."""
        if not self.url:
            return None
        folder = self.folder
        what = f"the DVC remote {self.name!r} cannot be reached"
        if folder is None:
            reason = _asked(self.root, self.name)
            reached = not reason
            what += f" ({reason})"
        else:
            above = folder if folder.exists() else folder.parent
            reached = above.is_dir() and os.access(above, os.W_OK)
        if reached:
            return None
        another = f"name another: `dvc remote modify {shlex.quote(self.name)} url URL`"
        where = self.url if folder is None else folder
        return PipelineError(where, what, f"{another}, or `rounds close --no-push`")


def default_remote(root: Path) -> Remote:
    """The default remote by .dvc/config and .dvc/config.local, which comes last, as in DVC."""
    config = ConfigParser(interpolation=None)  # a path may hold a %
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    name = config.get("core", "remote", fallback="").strip("\"'")
    url = config.get(f"'remote \"{name}\"'", "url", fallback="").strip("\"'")
    return Remote(root, name, url)


def _asked(root: Path, name: str) -> str:
    """Why the remote does not answer, asked in another process; empty where it does."""
    words = [sys.executable, "-m", "rounds.remote", name]
    try:
        done = subprocess.run(
            words, cwd=root, env=environment(root), stdin=subprocess.DEVNULL,
            capture_output=True, check=False, text=True, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS} seconds"
    return done.stdout.strip() if done.returncode == OUT_OF_REACH else ""


def answer(name: str) -> str:
    """Why the remote of the project in the current folder cannot be reached, empty where it can."""
    from dvc.config import Config
    from dvc.fs import get_cloud_fs

    try:
        kind, settings, path = get_cloud_fs(Config(".dvc"), name=name)
        if kind.protocol in INTERACTIVE or any(settings.get(prompt) for prompt in PROMPTS):
            return ""
        _look(kind(**settings), path)
    except Exception as error:  # noqa: BLE001 - every file system has errors of a kind of its own
        return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(".")
    return ""


def _look(remote: Any, path: str) -> None:
    """List the remote's folder. Raises whatever its file system does where it cannot be reached.

    A missing folder is made by the first push, but for a bucket, which nobody makes by pushing.
    """
    from dvc_objects.fs.base import ObjectFileSystem

    files = remote.fs
    is_web = remote.protocol in WEB
    try:
        files.ls(path, detail=False)
    except (FileNotFoundError, NotImplementedError):
        bucket = path.strip("/").partition("/")[0]
        if isinstance(remote, ObjectFileSystem) and not is_web:
            _look_at_bucket(files, bucket)
    except Exception as error:
        # A web server that refuses to list a folder has answered.
        if not (is_web and hasattr(error, "status")):
            raise


def _look_at_bucket(files: Any, bucket: str) -> None:
    """Raises FileNotFoundError for a bucket that is none."""
    try:
        files.info(bucket)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no bucket {bucket!r}") from error
    except PermissionError:
        return  # who may read and write objects need not be allowed to look at the bucket


def main(words: list[str]) -> int:
    """Say why the named remote cannot be reached, if so."""
    reason = answer(words[0])
    if not reason:
        return 0
    sys.stdout.write(reason + "\n")
    return OUT_OF_REACH


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
