"""File systems of a given size, to be filled or made read-only."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

SIZE = 256 << 20  # bytes, kept in memory only as far as they are used
BLOCK = b"\0" * 4096


class Disk:
    """``folder``, with what is in it, on a file system of its own, until ``close``."""

    def __init__(self, folder: Path):
        self.folder, self.filler = folder, folder / ".filler"
        self.content = folder.with_name(f"{folder.name}-before")
        if os.geteuid():
            pytest.skip("a file system can be mounted by root alone")
        folder.mkdir(parents=True, exist_ok=True)
        folder.rename(self.content)
        folder.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "full-disk-test", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode:
            folder.rmdir()
            self.content.rename(folder)
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
        subprocess.run(["cp", "-a", f"{self.content}/.", str(folder)], check=True)

    def fill(self, leave: int) -> None:
        """Use all of the disk but about ``leave`` bytes."""
        size = max(0, shutil.disk_usage(self.folder).free - leave)
        descriptor = os.open(self.filler, os.O_WRONLY | os.O_CREAT)
        try:
            with suppress(OSError):
                os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Take what filled the disk away."""
        self.filler.unlink(missing_ok=True)

    def read_only(self, yes: bool) -> None:
        """Have the disk mounted for reading alone, or for writing again."""
        subprocess.run(["mount", "-o", f"remount,{'ro' if yes else 'rw'}", str(self.folder)], check=True)

    def close(self) -> None:
        """Unmount the disk, and put back what was in the folder before."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        self.folder.rmdir()
        self.content.rename(self.folder)
