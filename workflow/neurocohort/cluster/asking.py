"""Asking a scheduler's programs: what they print, or why they give no answer."""

import subprocess
from typing import NamedTuple

ANSWER_S = 4.0


class Answer(NamedTuple):
    """What a program printed. ``fault``: why it gave no answer, empty where it did."""

    text: str
    fault: str = ""


def ask(*command: str, seconds: float = ANSWER_S) -> Answer:
    """Run ``command`` and wait for ``seconds`` at most."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return Answer("", f"{command[0]} is not installed here")
    except (OSError, subprocess.TimeoutExpired) as error:
        late = isinstance(error, subprocess.TimeoutExpired)
        return Answer(
            "", f"{command[0]} gives no answer within {seconds:g} s" if late else f"{command[0]} fails: {error}"
        )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"it ends with {done.returncode}").splitlines()[0]
        return Answer(done.stdout, f"{command[0]} fails: {said}")
    return Answer(done.stdout)
