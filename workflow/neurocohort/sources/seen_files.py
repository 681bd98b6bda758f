"""A record of a user's files, so that a file that was only touched or copied again doesn't count as changed.

Each file has a mark: its size and time when it was first seen. The mark stays if size, time and inode are unchanged. If only the
size is, as after `touch`, the content is hashed, and the mark stays if that is unchanged. The ingest records the contents, since
it reads them anyway.
"""

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import NamedTuple

from neurocohort.files import sha256_of, write_text

NAME = "source_files.json"  # in data/<cohort>/
ABSENT = "absent"
NOT_REGULAR = "no regular file"


class Seen(NamedTuple):
    """``state``: size, modification time in ns and inode when the file was last hashed. ``sha256``: of its content then."""

    state: list[int]
    mark: str
    sha256: str


class SeenFiles:
    """The files that an earlier run saw, by absolute path. ``path``: of the record, which may be absent or damaged."""

    def __init__(self, path: Path | str | None):
        self.path, self.changed = path, False
        self.files: dict[str, Seen] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            if path is not None:
                self.files = {name: Seen(*entry) for name, entry in json.loads(Path(path).read_bytes()).items()}

    def mark(self, path: Path | str) -> str:
        """The file's mark; ABSENT if there is no file. Links are followed; pipes, devices and folders aren't opened."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # a name that no file can have
            return ABSENT
        if not stat.S_ISREG(status.st_mode):
            return NOT_REGULAR
        state = [status.st_size, status.st_mtime_ns, status.st_ino]
        seen = self.files.get(name := os.path.abspath(path))
        if seen and seen.state == state:
            return seen.mark
        if seen and seen.state[0] == status.st_size and _has_content(path, seen.sha256):
            self.files[name], self.changed = seen._replace(state=state), True
            return seen.mark
        return f"{status.st_size} {status.st_mtime_ns}"

    def note(self, path: Path | str, sha256: str) -> None:
        """Record a file's content, unless the file is gone."""
        mark = self.mark(path)
        with contextlib.suppress(OSError):
            status = os.stat(path)
            state = [status.st_size, status.st_mtime_ns, status.st_ino]
            self.files[os.path.abspath(path)], self.changed = Seen(state, mark, sha256), True

    def save(self) -> None:
        """Write the record if it changed. If it can't be written, the next run computes the same hashes again."""
        if self.changed and self.path is not None:
            with contextlib.suppress(OSError):
                write_text(self.path, json.dumps(self.files, indent=0) + "\n")
                self.changed = False


def _has_content(path: Path | str, sha256: str) -> bool:
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False
