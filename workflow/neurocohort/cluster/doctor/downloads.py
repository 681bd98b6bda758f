"""Whether the hosts of a study's public files answer: a request of one byte to each file that is still to come."""

import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests

from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding, in_time
from neurocohort.cluster.planning.cohorts import Archive
from neurocohort.sources.download import brief, local_path

THE_STUDY = "the study itself"  # by the rules that make synthetic cohorts
ANSWER_S = 4.0  # of one address
MEND = (
    "see whether this machine reaches the internet (a proxy in https_proxy?); else give a mirror as the cohort's base_url, or "
    "fetch the files where the network is open and give their folder as base_url."
)


def check_downloads(archives: list[Archive], answer_s: float = ANSWER_S) -> list[Finding]:
    """A line for the files of each host or folder, and one for those that no address gives."""
    missing = [archive for archive in archives if not archive.place.exists()]
    if not missing:
        said = "every file is here already" if archives else "no cohort has any"
        return [Finding(NONE, "downloads", said)]
    answers = _answers([address for archive in missing for address in _asked(archive)], answer_s)
    lines: dict[tuple[str | None, str], list[str]] = {}
    for archive in missing:
        address, reasons = _first_that_answers(archive, answers)
        place = None if address is None else _place_of(address, archive)
        lines.setdefault((place, "; ".join(reasons)), []).append(archive.file.name)
    findings = []
    for (place, reasons), names in lines.items():
        if place is None:
            findings.append(Finding(BAD, "downloads", f"{_names(names)} can't be had: {reasons}", MEND))
        else:
            said = f"{place} {'makes' if place == THE_STUDY else 'has'} {_names(names)}"
            findings.append(Finding(GOOD, "downloads", f"{said}, in place of {reasons}" if reasons else said))
    return findings


def _asked(archive: Archive) -> tuple[str, ...]:
    """The addresses to try; none for what a rule of the study makes."""
    return () if archive.made_here else archive.addresses


def _answers(addresses: list[str], answer_s: float) -> dict[str, str | None]:
    """By address, why it doesn't give its file, or None; all asked at once, since each may keep silent."""
    addresses = list(dict.fromkeys(addresses))
    found = in_time([lambda address=address: (why_not(address, answer_s),) for address in addresses], answer_s + 1)
    late = (f"no answer within {answer_s:g} s",)
    return {address: (answer or late)[0] for address, answer in zip(addresses, found, strict=True)}


def _first_that_answers(archive: Archive, answers: dict[str, str | None]) -> tuple[str | None, list[str]]:
    """The first address that has the file, and why those before it haven't."""
    reasons: dict[str, None] = {}
    for address in _asked(archive):
        if (reason := answers[address]) is None:
            return address, list(reasons)
        reasons[f"{_place_of(address, archive)} ({reason})"] = None
    return (archive.addresses[0] if archive.made_here else None), list(reasons)


def why_not(address: str, answer_s: float) -> str | None:
    """Why an address, or a path, doesn't give its file; None where it does. One byte is asked for."""
    local = local_path(address)
    if local is not None:
        if local.is_file():
            return None
        return "there is no such file" if local.parent.is_dir() else f"there is no folder {local.parent}"
    began = time.monotonic()
    try:
        asked = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
        with requests.get(address, headers=asked, stream=True, timeout=(answer_s, answer_s)) as response:
            if response.status_code not in (200, 206):
                return f"it answers {response.status_code} {response.reason}"
            if "html" in response.headers.get("Content-Type", ""):
                return "it sends a web page"
    except requests.exceptions.SSLError as error:
        return f"its certificate is not accepted: {brief(error)}"
    except requests.RequestException as error:
        late = time.monotonic() - began >= answer_s and re.search("time", brief(error), re.IGNORECASE)
        return f"no answer within {answer_s:g} s" if late else brief(error)
    return None


def _place_of(address: str, archive: Archive) -> str:
    """The host of an address; of a path its folder."""
    if archive.made_here:
        return THE_STUDY
    parts = urlsplit(address)
    return parts.hostname if parts.hostname else str(Path(address.removeprefix("file://")).parent)


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
