"""Which neurocohort this is, and which BIDS it writes: for the files that name them."""

import re
import subprocess
from pathlib import Path

BIDS_VERSION = "1.10.0"
SSH_ADDRESS = re.compile(r"(?:ssh://)?[^@/]+@([^:/]+)[:/](.+)")


def code_address() -> str | None:
    """The address that the source tree was cloned from, as https; None without one, and for a folder of this machine."""
    command = ["git", "-C", str(Path(__file__).parent), "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return public_address(done.stdout.strip()) if done.returncode == 0 else None


def public_address(remote: str) -> str | None:
    """A git remote's address without user and password, as https; None for a folder.

    ``git@example.org:group/name.git`` becomes ``https://example.org/group/name``.
    """
    remote = remote.removesuffix(".git")
    if found := re.fullmatch(r"https?://(?:[^@/]+@)?(.+)", remote):
        return f"https://{found[1]}"
    if found := SSH_ADDRESS.fullmatch(remote):
        return f"https://{found[1]}/{found[2]}"
    return None
