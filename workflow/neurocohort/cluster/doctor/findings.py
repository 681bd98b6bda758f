"""What a check found, how checks run in parallel within a time limit, and how their findings are printed."""

import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from neurocohort.cluster.terminal import can_show
from neurocohort.errors import InputError

GOOD, BAD, NONE = "good", "bad", "none"  # NONE: the check doesn't apply here
MARKS = {GOOD: "✓", BAD: "✗", NONE: "–"}
PLAIN_MARKS = {GOOD: "[ok]", BAD: "[XX]", NONE: "[--]"}
RESTORE = "correct that file, or restore it from the repository."


class Finding(NamedTuple):
    """One line: its mark, the name of the check, what it found, and how to fix it if it is bad."""

    mark: str
    name: str
    found: str
    fix: str = ""


Check = Callable[[], list[Finding]]
T = TypeVar("T")


def in_parallel(checks: dict[str, Check], seconds: float) -> list[Finding]:
    """The findings of all ``checks``, by name, in their order; a check that takes more than ``seconds`` is a bad finding."""
    late = f"no answer within {seconds:.2g} s"
    fix = "try again; if it happens again, the machine, its network or its file system is overloaded: ask its administrators."
    calls = [functools.partial(_run_check, name, check) for name, check in checks.items()]
    answers = zip(checks, in_time(calls, seconds), strict=True)
    findings = [[Finding(BAD, name, late, fix)] if found is None else found for name, found in answers]
    return [finding for found in findings for finding in found]


def in_time(calls: Sequence[Callable[[], T]], seconds: float) -> list[T | None]:
    """The results of all ``calls``, made at once; None for one that takes more than ``seconds``. Raises what one raised."""
    answers: dict[int, T] = {}
    errors: list[Exception] = []

    def call(number: int) -> None:
        try:
            answers[number] = calls[number]()
        except Exception as error:
            errors.append(error)

    # Daemon threads: one that hangs on a dead file server or name server delays neither the other answers nor the end.
    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(len(calls))]
    until = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    if errors:
        raise errors[0]
    return [answers.get(number) for number in range(len(calls))]


def lines_of(finding: Finding, width: int) -> list[str]:
    """A finding as it is printed, its name padded to ``width``; the fix is on a line of its own."""
    marks = MARKS if can_show("".join(MARKS.values())) else PLAIN_MARKS
    lines = [f"{marks[finding.mark]} {finding.name:<{width}}  {finding.found}"]
    if finding.fix:
        lines.append(f"{' ' * len(marks[BAD])} {'':<{width}}  fix: {finding.fix}")
    return lines


def _run_check(name: str, check: Check) -> list[Finding]:
    """What a check finds; a check that fails is a bad finding, and the others go on."""
    try:
        return check()
    except InputError as error:
        return [Finding(BAD, name, str(error), "correct what this sentence names.")]
    except Exception as error:
        found = f"the check itself failed ({type(error).__name__}: {error})"
        return [Finding(BAD, name, found, "this is a fault of neurocohort: please report it with this line.")]
