"""The address of this code and the version of BIDS, for the files that state them."""

import re
import subprocess
from pathlib import Path

BIDS_VERSION = "1.10.0"
SSH_ADDRESS = re.compile(r"(?:ssh://)?[^@/]+@([^:/]+)[:/](.+)")


def code_address() -> str | None:
    """The https address from which the source tree was cloned; None for a folder of this machine or without one."""
    command = ["git", "-C", str(Path(__file__).parent), "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return public_address(done.stdout.strip()) if done.returncode == 0 else None


def public_address(remote: str) -> str | None:
    """The https address of a git remote, without user and password; None for a folder.

    ``git@example.org:group/name.git`` becomes ``https://example.org/group/name``.
    """
    remote = remote.removesuffix(".git")
    if found := re.fullmatch(r"https?://(?:[^@/]+@)?(.+)", remote):
        return f"https://{found[1]}"
    if found := SSH_ADDRESS.fullmatch(remote):
        return f"https://{found[1]}/{found[2]}"
    return None
