"""What a check found, how checks run side by side within a time limit, and how their findings are printed."""

import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from neurocohort.cluster.terminal import shows
from neurocohort.errors import InputError

GOOD, BAD, NONE = "good", "bad", "none"  # a tick; a cross; a dash, for what doesn't apply
MARKS = {GOOD: "✓", BAD: "✗", NONE: "–"}
PLAIN_MARKS = {GOOD: "[ok]", BAD: "[XX]", NONE: "[--]"}


class Finding(NamedTuple):
    """One line: ``name`` of the check, ``found`` by it, and ``fix``: what to do about a cross."""

    mark: str
    name: str
    found: str
    fix: str = ""


Check = Callable[[], list[Finding]]


def side_by_side(checks: dict[str, Check], seconds: float) -> list[Finding]:
    """The findings of all ``checks``, by name, in their order; one that gives no answer within ``seconds`` is a cross."""
    late = f"no answer within {seconds:g} s"
    fix = (
        "try again; if it stays so, the machine, its network or its file system is overloaded: ask who looks after it."
    )
    calls = [functools.partial(_found, name, check) for name, check in checks.items()]
    answers = zip(checks, in_time(calls, seconds), strict=True)
    told = ([Finding(BAD, name, late, fix)] if found is None else found for name, found in answers)
    return [finding for found in told for finding in found]


def in_time(calls: Sequence[Callable[[], object]], seconds: float) -> list:
    """What ``calls`` return, called all at once; None where one hasn't after ``seconds``. Raises what one raised."""
    answers: dict[int, object] = {}
    errors: list[Exception] = []

    def call(number: int) -> None:
        try:
            answers[number] = calls[number]()
        except Exception as error:
            errors.append(error)

    # Daemons: one that hangs on a dead file server or name server keeps neither the others' answers back nor the end.
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
    """A finding as it is printed, its name padded to ``width``; the fix on a line of its own."""
    marks = MARKS if shows("".join(MARKS.values())) else PLAIN_MARKS
    lines = [f"{marks[finding.mark]} {finding.name:<{width}}  {finding.found}"]
    if finding.fix:
        lines.append(f"{' ' * len(marks[BAD])} {'':<{width}}  fix: {finding.fix}")
    return lines


def _found(name: str, check: Check) -> list[Finding]:
    """What one check finds; one that fails is a cross, and the others go on."""
    try:
        return check()
    except InputError as error:
        return [Finding(BAD, name, str(error), "correct what this sentence names.")]
    except Exception as error:
        said = f"the check itself failed ({type(error).__name__}: {error})"
        return [Finding(BAD, name, said, "this is a fault of neurocohort: please report it with this line.")]
