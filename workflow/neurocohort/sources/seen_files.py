"""What is remembered of a user's own files, so that a file that was only touched or copied again isn't taken for another one.

A file is known by a mark: its size and time when it was first seen. Where its size, time and inode are those of the last time,
the mark stays without a look inside. Where only size and content are, as after `touch`, the content is hashed once and the mark
stays as well. The ingest notes the contents, since it reads them anyway.
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
    """The files that an earlier run saw, by absolute path. ``path``: where that is kept; a file that is absent or damaged means
    that nothing was seen."""

    def __init__(self, path: Path | str | None):
        self.path, self.changed = path, False
        self.files: dict[str, Seen] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            if path is not None:
                self.files = {name: Seen(*entry) for name, entry in json.loads(Path(path).read_bytes()).items()}

    def mark(self, path: Path | str) -> str:
        """The file's mark; ABSENT where there is none, so that its coming is a change. Links are followed, and
        pipes, devices and folders aren't opened."""
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
        """Remember a file's content. A file that is gone by now is not noted."""
        mark = self.mark(path)
        with contextlib.suppress(OSError):
            status = os.stat(path)
            state = [status.st_size, status.st_mtime_ns, status.st_ino]
            self.files[os.path.abspath(path)], self.changed = Seen(state, mark, sha256), True

    def save(self) -> None:
        """Write what has changed; nothing where the place can't be written, which costs the next run the same hashes again."""
        if self.changed and self.path is not None:
            with contextlib.suppress(OSError):
                write_text(self.path, json.dumps(self.files, indent=0) + "\n")
                self.changed = False


def _has_content(path: Path | str, sha256: str) -> bool:
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False
