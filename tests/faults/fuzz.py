"""Change the files of fuzz_seeds.py at random for some time, have the product read them, and count what comes of it.

    python tests/faults/fuzz.py --seconds 60 --seed 1

A file is read, or refused with the product's own error. Anything else is a lost case: another exception, more than SECONDS,
or more than LARGEST_GROWTH of memory. For each the command that repeats it is printed; it shows the traceback.
"""

import argparse
import contextlib
import logging
import os
import random
import re
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fuzz_seeds import Seed, seeds
from limited import TooSlow, limited
from neurocohort.errors import InputError, ScanExcluded
from neurocohort.user_files import UnusableFile

KIND = "Files of every kind with bytes changed at random"
SECONDS = 5
LARGEST_GROWTH = 2 << 30
ADDRESS_SPACE = 12 << 30
REFUSED = (InputError, ScanExcluded, UnusableFile)
READ, REFUSED_WORD, LOST = "read", "refused", "lost"
NUMBERS = (0, 1, -1, 2, 3, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**62, 348, 540)
DECIMALS = (0.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e38, 1e-38, 5e-324, 352.0)
WORDS = (
    *(
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1e-999",
        "0x" + "f" * 400,
        "9" * 400,
        "9" * 5000,
        "1_000",
        "-0",
        "٣",
        "1,5",
        "-5",
    ),
    *(
        "n/a",
        "",
        "=1+1",
        '"',
        "'",
        "\t",
        "\n",
        "\r",
        "\0",
        "\ufeff",
        "\u202e",
        "é",
        "../",
        "~",
        "*",
        "&a",
        "<<",
        "!!set ",
    ),
    *("[" * 60, "{" * 60, "]", "}", ":", "? ", "- ", "|", ">", "%YAML 9.9\n", "---\n", '"\\UFFFFFFFF"', "null", "true"),
    *("2020-13-45", "1:99:99", "0o17", "0777", "9999-12-31", ".", "..", "-1", "1e308", "18446744073709551616"),
)
TOKEN = re.compile(rb"[A-Za-z0-9_.+-]+|[^A-Za-z0-9_.+-]")
LONGEST_SEARCH = 2000
TEXT_SHARE = 0.8
WORD_BYTES = (*(word.encode() for word in WORDS), b"\xff\xfe", b"\xed\xa0\x80", b"\x80" + bytes(11), b"\xff" * 12)


class Case(NamedTuple):
    """One file: its seed's name and its number; with the run's seed it is always the same."""

    run: int
    name: str
    number: int

    @property
    def command(self) -> str:
        return f"python tests/faults/fuzz.py --seed {self.run} --case {self.name!r} {self.number}"


def changed(content: bytes, draw: random.Random) -> bytes:
    """One to four changes, in a text mostly of its words and signs, elsewhere of bytes and numbers."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        # The interesting fields are in the header.
        place = draw.randrange(min(len(data), draw.choice((400, 1 << 30, 1 << 30))) or 1)
        if draw.random() < (TEXT_SHARE if content.isascii() and b"\0" not in content else 0.1):
            _exchange_words(data, place, draw)
        else:
            _change_bytes(data, place, draw)
    return bytes(data)


def _exchange_words(data: bytearray, place: int, draw: random.Random) -> None:
    """A word or sign behind ``place`` becomes one of WORDS, or one that stands near, or is repeated."""
    if tokens := [*TOKEN.finditer(data[place : place + LONGEST_SEARCH])]:
        token, other = draw.choice(tokens), draw.choice(tokens)
        new = draw.choice((draw.choice(WORD_BYTES), draw.choice(WORD_BYTES), other[0], token[0] * 2, b""))
        data[place + token.start() : place + token.end()] = new


def _change_bytes(data: bytearray, place: int, draw: random.Random) -> None:
    """Bits, bytes, numbers and words are put at ``place``; parts are cut out, repeated, moved or cut off."""
    length = draw.choice((1, 1, 2, 4, 16, 200, 4000))
    match draw.randrange(9):
        case 0 if data:
            data[place] ^= 1 << draw.randrange(8)
        case 1:
            data[place : place + length] = draw.randbytes(length)
        case 2:
            del data[place : place + length]
        case 3:
            data[place:place] = bytes(data[place : place + length]) * draw.choice((1, 2, 50))
        case 4:
            del data[place:]
        case 5:
            size, order = draw.choice((1, 2, 4, 8)), draw.choice(("little", "big"))
            number = draw.choice(NUMBERS) & ((1 << 8 * size) - 1)
            data[place : place + size] = number.to_bytes(size, order)
        case 6:
            place -= place % 4
            data[place : place + 4] = struct.pack(draw.choice("<>") + "f", draw.choice(DECIMALS))
        case 7:
            word = draw.choice(WORD_BYTES)
            data[place : place + draw.choice((0, len(word), length))] = word
        case _:
            other = draw.randrange(len(data) or 1)
            data[place:place] = data[other : other + length]


def written(folder: Path, seed: Seed, content: bytes) -> Path:
    """The changed file in ``folder``, with the files that lie beside it."""
    path = folder / seed.name
    for name, other in (seed.beside or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(other)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def attempt(seed: Seed, case: Case) -> tuple[str, str]:
    """What came of a case, and the reason where it is lost."""
    draw = random.Random(f"{case.run} {case.name} {case.number}")
    content = changed(seed.content, draw)
    content = seed.pack(content) if seed.pack else content
    before, begun = _peak_bytes(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        try:
            with limited(12 * SECONDS):
                seed.read(written(Path(folder), seed, content))
            outcome, reason = READ, ""
        except REFUSED as error:
            no_memory = any(isinstance(one, MemoryError) for one in _chain(error))
            outcome, reason = (LOST, "MemoryError") if no_memory else (REFUSED_WORD, str(error))
        except (Exception, TooSlow):
            outcome, reason = LOST, traceback.format_exc()
    if (took := time.process_time() - begun) > SECONDS:
        outcome, reason = LOST, f"{took:.0f} s\n{reason}"
    if (grown := _peak_bytes() - before) > LARGEST_GROWTH:
        outcome, reason = LOST, f"{grown >> 20} MiB\n{reason}"
    return outcome, reason


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def fuzz(seconds: float, run: int, most: int = 1 << 60) -> tuple[dict[str, Counter], list[tuple[Case, str]]]:
    """Try files of every kind in turn for so long, or ``most`` of each: counts by kind, and the lost cases with their reason."""
    files = seeds()
    counts: dict[str, Counter] = {name: Counter() for name in files}
    lost = []
    end, number = time.monotonic() + seconds, 0
    while number < most and time.monotonic() < end:
        for name, seed in files.items():
            if time.monotonic() > end:
                break
            case = Case(run, name, number)
            outcome, reason = attempt(seed, case)
            counts[name][outcome] += 1
            if outcome == LOST:
                lost.append((case, reason))
        number += 1
    return counts, lost


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries print about damaged files; with a limit of memory, so that a bomb is an error."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE if old[1] < 0 else min(ADDRESS_SPACE, old[1]), old[1]))
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(nothing):
                yield
    finally:
        logging.disable(logging.NOTSET)
        resource.setrlimit(resource.RLIMIT_AS, old)


def main() -> int:
    options = argparse.ArgumentParser(description="Read randomly changed files, and count what comes of it.")
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--case", nargs=2, metavar=("NAME", "NUMBER"), help="this file alone, with its reason in full")
    given = options.parse_args()
    if given.case:
        with quiet():
            outcome, reason = attempt(seeds()[given.case[0]], Case(given.seed, given.case[0], int(given.case[1])))
        print(f"{outcome}: {reason}")
        return int(outcome == LOST)
    with quiet():
        counts, lost = fuzz(given.seconds, given.seed)
    for name, count in counts.items():
        print(f"{name}: {count[READ]} read, {count[REFUSED_WORD]} refused, {count[LOST]} lost")
    for case, reason in lost:
        print(f"{case.command}  # {(reason.strip().splitlines() or ['?'])[-1][:100]}")
    total = sum(counts.values(), Counter())
    tries = total.total()
    command = f"python tests/faults/fuzz.py --seconds {given.seconds:g} --seed {given.seed}"
    print(f"| {KIND} | {tries} | {tries - total[LOST]} | {total[LOST]} | `{command}` |")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
