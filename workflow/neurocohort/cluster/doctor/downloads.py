"""Whether the hosts of a study's public files answer: a request of one byte for each file that is still missing."""

import re
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import requests

from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding, in_time
from neurocohort.cluster.planning.cohorts import Archive
from neurocohort.sources.download import brief, local_path

THE_STUDY = "the study itself"  # the rules that make synthetic cohorts
ANSWER_S = 4.0  # of one address
FIX = (
    "check whether this machine reaches the internet (https_proxy?); else give a mirror as the cohort's base_url, "
    "or download the files elsewhere and give their folder as base_url."
)


def check_downloads(archives: list[Archive], answer_s: float = ANSWER_S) -> list[Finding]:
    """A finding for the files of each host or folder, and one for those that no address has."""
    missing = [archive for archive in archives if not archive.place.exists()]
    if not missing:
        return [Finding(NONE, "downloads", "every file is here already" if archives else "no cohort has any")]
    faults = _faults([address for archive in missing for address in _asked(archive)], answer_s)
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for archive in missing:
        failing = [address for address in _asked(archive) if faults[address]]
        working = [address for address in archive.addresses if address not in failing]
        place = _place_of(working[0], archive) if working else ""
        tried = failing if not working else failing[: archive.addresses.index(working[0])]
        reasons = dict.fromkeys(f"{_place_of(address, archive)} ({faults[address]})" for address in tried)
        files[place, "; ".join(reasons)].append(archive.file.name)
    return [_finding(place, reasons, names) for (place, reasons), names in files.items()]


def fault_of(address: str, answer_s: float) -> str:
    """Why an address, or a path, doesn't have its file; empty if it has. One byte is requested."""
    local = local_path(address)
    if local is not None:
        if local.is_file():
            return ""
        return "there is no such file" if local.parent.is_dir() else f"there is no folder {local.parent}"
    started = time.monotonic()
    try:
        headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
        with requests.get(address, headers=headers, stream=True, timeout=(answer_s, answer_s)) as response:
            if response.status_code not in (200, 206):
                return f"it answers {response.status_code} {response.reason}"
            return "it sends a web page" if "html" in response.headers.get("Content-Type", "") else ""
    except requests.exceptions.SSLError as error:
        return f"its certificate is not accepted: {brief(error)}"
    except requests.RequestException as error:
        late = time.monotonic() - started >= answer_s and re.search("time", brief(error), re.IGNORECASE)
        return _late(answer_s) if late else brief(error)


def _finding(place: str, reasons: str, names: list[str]) -> Finding:
    listed = ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
    if not place:
        return Finding(BAD, "downloads", f"{listed} can't be downloaded: {reasons}", FIX)
    found = f"{place} {'makes' if place == THE_STUDY else 'has'} {listed}"
    return Finding(GOOD, "downloads", f"{found}, instead of {reasons}" if reasons else found)


def _asked(archive: Archive) -> tuple[str, ...]:
    """The addresses to try; none for a file that a rule of the study makes."""
    return () if archive.made_here else archive.addresses


def _faults(addresses: list[str], answer_s: float) -> dict[str, str]:
    """The fault of each address; all are asked at once, since each may not answer."""
    addresses = list(dict.fromkeys(addresses))
    found = in_time([partial(fault_of, address, answer_s) for address in addresses], answer_s + 1)
    return {a: _late(answer_s) if fault is None else fault for a, fault in zip(addresses, found, strict=True)}


def _late(answer_s: float) -> str:
    return f"no answer within {answer_s:g} s"


def _place_of(address: str, archive: Archive) -> str:
    """The host of an address, or the folder of a path."""
    if archive.made_here:
        return THE_STUDY
    return urlsplit(address).hostname or str(Path(address.removeprefix("file://")).parent)
