"""Run a scheduler's command-line programs with a time limit."""

import subprocess
from typing import NamedTuple

ANSWER_S = 4.0


class Answer(NamedTuple):
    """What a program printed, why it gave no answer (empty if it did), and what it printed to standard error."""

    text: str
    fault: str = ""
    warning: str = ""


def ask(*command: str, seconds: float = ANSWER_S) -> Answer:
    """Run ``command`` and wait at most ``seconds``."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return Answer("", f"{command[0]} is not installed here")
    except subprocess.TimeoutExpired:
        return Answer("", f"{command[0]} gives no answer within {seconds:g} s")
    except OSError as error:
        return Answer("", f"{command[0]} fails: {error}")
    if done.returncode:
        reason = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        return Answer(done.stdout, f"{command[0]} fails: {reason.splitlines()[0]}")
    return Answer(done.stdout, warning=done.stderr)
