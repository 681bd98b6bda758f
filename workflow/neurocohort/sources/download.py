"""Downloading one file of a source: resumed after an interruption, and checked before it gets its final name.

The checks are length, leading bytes, and the published checksum or, without one, the sha256 recorded at the first download.
"""

import fcntl
import json
import logging
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from neurocohort import files
from neurocohort.errors import InputError
from neurocohort.progress import transfer_shown
from neurocohort.sources.sources import SourceFile
from neurocohort.sources.verify import HEAD_BYTES, WEB_PAGE, Expected
from neurocohort.user_files import UnusableFile, expanded, open_regular

logger = logging.getLogger(__name__)

WAITS_S = (2.0, 5.0, 15.0, 45.0, 120.0)  # a file server restarts within minutes
STALL_S = 60.0
CHUNK_BYTES = 1 << 20
SPARE_BYTES = 64 << 20  # left free on the disk
PROGRESS_BYTES = 1 << 20  # after an attempt that gained this much, the count of attempts starts again
TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}


class _MirrorError(Exception):
    """This address doesn't have the file; the next one may."""


class _TransferError(Exception):
    """The transfer broke off, or the server is busy; the same address may work later."""

    def __init__(self, message: str, wait_s: float = 0.0):
        super().__init__(message)
        self.wait_s = wait_s  # by the server's Retry-After


class _Begun(NamedTuple):
    """An earlier transfer. ``start``: its bytes in the part file; ``validator``: for If-Range; ``total``: the file's length."""

    start: int = 0
    validator: str | None = None
    total: int | None = None


def download(
    file: SourceFile,
    destination: Path | str,
    *,
    base: str | None = None,
    waits_s: Sequence[float] = WAITS_S,
    stall_s: float = STALL_S,
) -> None:
    """Bring one file to ``destination`` from the first address that has it whole.

    Addresses are ``http(s)://``, ``file://`` or plain paths. A local file is checked (but not against the record) and linked. A
    remote one is written to ``<destination>.part``, which stays after a failure. The next attempt resumes it by HTTP Range (RFC
    9110, 14) only if the server confirms that the file is the same. If no checksum is published, the sha256 of the first download
    is recorded in ``checksums.tsv`` next to the file, and later ones must match it.

    Args:
        file: The file's addresses and published checksums.
        destination: Its final path.
        base: A user's own folder or address with the file; it need not have the published length and md5.
        waits_s: Pauses between attempts at one address, in seconds.
        stall_s: The longest silence of a server, in seconds.

    Raises:
        InputError: If no address has the file (with the reason for each), or the disk is too small.
    """
    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    published = (file.size_bytes, file.md5) if base is None else (None, None)
    expected = Expected(destination, file.magic, *published, file.sha256, file.git_blob)
    urls = file.addresses(base)
    if not urls:
        raise InputError(f"No address is given for {destination.name}: list at least one under 'urls' of its source.")
    if destination.is_file() and not destination.is_symlink() and not expected.why_wrong(destination):
        expected.record(destination)
        return
    reasons = []
    for url in urls:
        try:
            if (local := local_path(url)) is not None:
                _link(local, destination, expected)
            else:
                _fetch(url, destination, expected, tuple(waits_s), stall_s)
            return
        except _MirrorError as failure:
            reasons.append(f"{url}: {failure}")
    raise InputError(
        f"{destination.name} could not be obtained. "
        + " ".join(reasons)
        + " Look at the address in a browser, or fetch the file by other means and give its path as the address."
    )


# --- local files ------------------------------------------------------------------------------------------------


def local_path(url: str) -> Path | None:
    """The path on this machine to which ``url`` refers; None if it is remote."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return None
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if "://" in url:
        raise InputError(f"The address {url} begins with {parts.scheme}://; use http://, https://, file:// or a path.")
    return expanded(url)


def _link(source: Path, destination: Path, expected: Expected) -> None:
    try:
        open_regular(source).close()
    except UnusableFile as fault:
        raise _MirrorError(f"{source.absolute()} {fault}.") from None
    # A user's own file may change; it need not equal an earlier download.
    if problem := expected.why_wrong(source, against_record=False):
        raise _MirrorError(problem)
    if destination.absolute() == source.absolute():
        raise InputError(f"The address {source} is the destination itself; move the file to another place.")
    with files.written_aside(destination) as aside:
        aside.symlink_to(source.resolve())


# --- remote files -----------------------------------------------------------------------------------------------


def _fetch(url: str, destination: Path, expected: Expected, waits_s: tuple[float, ...], stall_s: float) -> None:
    """Try one address until the file is whole and correct, or all attempts are used up."""
    part = destination.with_name(destination.name + ".part")
    waits = list(waits_s)
    with _locked(part), requests.Session() as session:
        while True:
            before = _size(part)
            try:
                resumed = _transfer(session, url, part, expected, stall_s)
            except _TransferError as interruption:
                if _size(part) - before >= PROGRESS_BYTES:
                    waits = list(waits_s)
                if not waits:
                    kept = f"; {_size(part)} bytes are kept in {part.name}, and the next run resumes from there"
                    tries = f"{interruption}, and {len(waits_s)} more attempts did no better"
                    raise _MirrorError(f"{tries}{kept if _size(part) else ''}.") from None
                wait_s = max(waits.pop(0), interruption.wait_s)
                logger.warning("%s: %s; trying again in %g s", destination.name, interruption, wait_s)
                time.sleep(wait_s)
                continue
            problem = expected.why_wrong(part)
            if not problem:
                break
            _discard(part)
            if not resumed:
                raise _MirrorError(problem)
            # A file of two transfers may be spliced from two versions: repeat it in one transfer.
    expected.record(part)
    part.replace(destination)
    _discard(part)


def _transfer(session: requests.Session, url: str, part: Path, expected: Expected, stall_s: float) -> bool:
    """Complete the part file by one request. Returns whether it resumed an earlier transfer."""
    begun = _begun_transfer(part, url, expected)
    if begun.start and begun.start == begun.total:
        return True  # a run was ended between the last byte and the rename
    headers = {"Accept-Encoding": "identity"}  # so that lengths and ranges are those of the file itself
    if begun.start:
        headers["Range"] = f"bytes={begun.start}-"
        if begun.validator:
            headers["If-Range"] = begun.validator
    try:
        with session.get(url, headers=headers, stream=True, timeout=(min(stall_s, 30.0), stall_s)) as response:
            start, total = _understand(response, begun, part)
            if total is not None and expected.size_bytes not in (None, total):
                if "html" in response.headers.get("Content-Type", ""):
                    raise _MirrorError(WEB_PAGE)
                raise _MirrorError(f"the server offers {total} bytes, and {expected.size_bytes} are expected.")
            if not start:
                part.write_bytes(b"")  # before the notes, which must be those of the bytes
            _check_disk(part, start, total or expected.size_bytes)
            files.write_json(_notes(part), {"url": url, "validator": _validator(response), "bytes": total})
            _copy(response, part, start, total, expected)
    except requests.exceptions.SSLError as error:
        raise _MirrorError(f"its certificate is not accepted ({brief(error)}).") from None
    except (requests.exceptions.InvalidURL, requests.exceptions.TooManyRedirects) as error:
        raise _MirrorError(f"the address does not work ({brief(error)}).") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError, ConnectionError) as error:
        raise _TransferError(f"the transfer broke off ({brief(error)})") from None
    if total is not None and _size(part) < total:
        raise _TransferError(f"the connection closed at {_size(part)} of {total} bytes")
    return start > 0


def _begun_transfer(part: Path, url: str, expected: Expected) -> _Begun:
    """The earlier transfer of the part file; an empty one if it can't be trusted."""
    try:
        known = json.loads(_notes(part).read_text(encoding="utf-8"))
        begun = _Begun(_size(part), known["validator"], known["bytes"])
    except (OSError, ValueError, LookupError, TypeError):
        return _Begun()
    if known["url"] != url:
        # Another mirror has other validators. Only a checksum and a length can then tell a splice from the file.
        begun = begun._replace(validator=None) if expected.md5 and begun.total is not None else _Begun()
    return begun if begun.validator or begun.total is not None else _Begun()


def _understand(response: requests.Response, begun: _Begun, part: Path) -> tuple[int, int | None]:
    """The position of the response's body in the file, and the file's length if the server states it."""
    status = response.status_code
    if status == 416:  # the part is as long as the file or longer: start again
        _discard(part)
        raise _TransferError("the server no longer has the rest of the file that was begun")
    if status in TRANSIENT_STATUS:
        raise _TransferError(f"the server answers {status} {response.reason}", _retry_after(response))
    if status not in (200, 206):
        raise _MirrorError(f"the server answers {status} {response.reason}.")
    if status == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if not span or int(span[1]) != begun.start or begun.total not in (None, int(span[2])):
        _discard(part)
        raise _TransferError("the file on the server is another one than the one that was begun; starting again")
    return begun.start, int(span[2])


def _copy(response: requests.Response, part: Path, start: int, total: int | None, expected: Expected) -> None:
    head_checked = start >= HEAD_BYTES
    name = part.name.removesuffix(".part")
    with part.open("r+b") as stream, transfer_shown(name, total, start) as progress:
        stream.seek(start)
        # read1 returns what has arrived, so that a broken connection loses no byte.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            stream.write(chunk)
            progress.update(len(chunk))
            if not head_checked and stream.tell() >= HEAD_BYTES:
                stream.flush()
                if problem := expected.why_wrong_head(part):
                    stream.truncate(0)
                    raise _MirrorError(problem)
                head_checked = True


def _check_disk(part: Path, start: int, total: int | None) -> None:
    needed = 0 if total is None else total - start + SPARE_BYTES
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise InputError(
            f"The disk of {part.parent.absolute()} has {free / 1e9:.2f} GB free, and {needed / 1e9:.2f} GB are "
            f"needed for {part.name.removesuffix('.part')}: free some space, or run where there is more."
        )


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Lock the part file against a second run in the same folder."""
    with part.open("ab") as stream:
        try:
            # flock, not lockf: the latter is lost as soon as this process closes the file once.
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{part} is being downloaded by another process: wait for it, then run again.") from None
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            if part.exists() and not _size(part):
                part.unlink()


def _notes(part: Path) -> Path:
    """The file with the address, validator and length of the transfer in ``part``."""
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    """Forget the transfer. The part file is emptied but not deleted, because it is locked."""
    if part.exists():
        with part.open("r+b") as stream:
            stream.truncate(0)
    _notes(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _validator(response: requests.Response) -> str | None:
    """The identifier of this version of the file for If-Range: a strong ETag, or else its date (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _retry_after(response: requests.Response) -> float:
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), 600.0) if seconds.isdigit() else 0.0


def brief(error: Exception) -> str:
    """The innermost cause in one line: urllib3 wraps its errors three deep."""
    cause = error
    while cause.args and isinstance(cause.args[0], Exception):
        cause = cause.args[0]
    cause = getattr(cause, "reason", None) or cause
    text = cause.args[0] if cause.args and isinstance(cause.args[0], str) else str(cause)
    text = re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", text.split("\n")[0])
    return text[:200].rstrip(".") or type(cause).__name__
