"""One file of a cohort, from the first address that works to its final name, resumed and verified on the way.

A file under its final name has passed every check: length, leading bytes, the published md5, or, where nothing is
published, the sha256 that was recorded at its first download.
"""

import fcntl
import json
import logging
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from neurocohort import files
from neurocohort.errors import InputError
from neurocohort.progress import Progress
from neurocohort.sources import verify
from neurocohort.user_files import UnusableFile, expanded, open_regular

logger = logging.getLogger(__name__)

WAITS_S = (2.0, 5.0, 15.0, 45.0, 120.0)  # about threefold each; a file server is back from a restart within minutes
STALL_S = 60.0
CHUNK_BYTES = 1 << 20
SPARE_BYTES = 64 << 20  # left free on the disk beside the file itself
PROGRESS_BYTES = 1 << 20  # an attempt that gained this much was worth it: the count of attempts starts again
TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}


class _MirrorError(Exception):
    """This address won't give the file; the next one may."""


class _TransferError(Exception):
    """The transfer broke off, or the server is busy; the same address may go on."""

    def __init__(self, message: str, wait_s: float = 0.0):
        super().__init__(message)
        self.wait_s = wait_s  # what the server asked for by Retry-After


def download(
    urls: Sequence[str],
    destination: Path | str,
    *,
    size_bytes: int | None,
    md5: str | None,
    magic: str | None,
    checksums_record: Path | str,
    sha256: str | None = None,
    waits_s: Sequence[float] = WAITS_S,
    stall_s: float = STALL_S,
) -> None:
    """Bring one file to ``destination`` from the first of ``urls`` that gives it whole.

    ``urls`` are ``http(s)://`` or ``file://`` addresses or plain paths, in order of preference. A local file is
    verified (but not held to ``checksums_record``) and linked by its absolute path. A remote one is written to
    ``<destination>.part``, which stays after a failure and is resumed by HTTP Range (RFC 9110, 14) only when the server
    vouches that the file is still the same.

    ``magic`` is ``tar``, ``gzip``, ``xls``, ``xlsx``, ``csv`` or None for anything. Where ``md5`` and ``sha256`` are None,
    the sha256 of the first download is kept in ``checksums_record`` (TSV: file, bytes, sha256) and later ones must match it.
    ``waits_s`` are the pauses between attempts at one address; ``stall_s`` is the longest silence allowed.

    Raises InputError when no address gives the file, saying for each why, and when the disk is too small.
    """
    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    expected = verify.Expected(destination, size_bytes, md5, magic, Path(checksums_record), sha256)
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
    """The path that ``url`` means on this machine, or None where it is remote."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return None
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if "://" in url:
        raise InputError(f"The address {url} begins with {parts.scheme}://; use http://, https://, file:// or a path.")
    return expanded(url)


def _link(source: Path, destination: Path, expected: verify.Expected) -> None:
    try:
        open_regular(source).close()
    except UnusableFile as fault:
        raise _MirrorError(f"{source.absolute()} {fault}.") from None
    # A person's own file may change as they like: what an earlier download was doesn't bind it.
    if problem := expected.why_wrong(source, against_record=False):
        raise _MirrorError(problem)
    if destination.absolute() == source.absolute():
        raise InputError(f"The address {source} is the destination itself; give the file another place.")
    with files.written_aside(destination) as aside:
        aside.symlink_to(source.resolve())


# --- remote files -----------------------------------------------------------------------------------------------


def _fetch(url: str, destination: Path, expected: verify.Expected, waits_s: tuple[float, ...], stall_s: float) -> None:
    """Try one address until the file is whole and right, or the attempts without progress are used up."""
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
                    kept = f"; {_size(part)} bytes are kept in {part.name}, and the next run goes on from there"
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
            # A wrong file made of two transfers may be a splice: one transfer from the first byte decides.
    expected.record(part)
    part.replace(destination)
    _discard(part)


def _transfer(session: requests.Session, url: str, part: Path, expected: verify.Expected, stall_s: float) -> bool:
    """One request; True where it went on from bytes that were there before. The part file is complete on return."""
    start, known = _resume_point(part, url, expected)
    if start and start == known.get("bytes"):
        return True  # a run was ended between the last byte and the rename
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges then speak of the file itself
    if start:
        headers["Range"] = f"bytes={start}-"
        if known.get("validator"):
            headers["If-Range"] = known["validator"]
    try:
        with session.get(url, headers=headers, stream=True, timeout=(min(stall_s, 30.0), stall_s)) as response:
            start, total = _understand(response, start, known, part)
            if total is not None and expected.size_bytes not in (None, total):
                if "html" in response.headers.get("Content-Type", ""):
                    raise _MirrorError(verify.WEB_PAGE)
                raise _MirrorError(f"the server offers {total} bytes, and {expected.size_bytes} are expected.")
            if not start:
                part.write_bytes(b"")  # before the notes: they must never speak of another version than the bytes
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


def _resume_point(part: Path, url: str, expected: verify.Expected) -> tuple[int, dict]:
    """The byte to go on from and what was noted of the earlier transfer; (0, {}) where the part can't be trusted."""
    known = {}
    with suppress(OSError, ValueError):
        known = json.loads(_notes(part).read_text(encoding="utf-8"))
    if known.get("url") != url:
        # Another mirror has other validators. Only a checksum and a length can then tell a splice from the file.
        if expected.md5 is None or known.get("bytes") is None:
            return 0, {}
        known["validator"] = None
    if not known.get("validator") and known.get("bytes") is None:
        return 0, {}
    return _size(part), known


def _understand(response: requests.Response, start: int, known: dict, part: Path) -> tuple[int, int | None]:
    """Where the body of ``response`` begins in the file, and the file's whole length if the server tells it."""
    status = response.status_code
    if status == 416:  # the part is as long as the file or longer: only a fresh transfer is sure
        _discard(part)
        raise _TransferError("the server no longer has the rest of the file that was begun")
    if status in TRANSIENT_STATUS:
        raise _TransferError(f"the server answers {status} {response.reason}", _retry_after(response))
    if status not in (200, 206):
        raise _MirrorError(f"the server answers {status} {response.reason}.")
    length = response.headers.get("Content-Length", "")
    length = int(length) if length.isdigit() else None
    if status == 200:
        return 0, length
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if not span or int(span[1]) != start or known.get("bytes") not in (None, int(span[2])):
        _discard(part)
        raise _TransferError("the file on the server is another one than the one that was begun; starting anew")
    return start, int(span[2])


def _copy(response: requests.Response, part: Path, start: int, total: int | None, expected: verify.Expected) -> None:
    head_checked = start >= verify.HEAD_BYTES
    with part.open("r+b") as stream, Progress(part.name.removesuffix(".part"), total, start) as progress:
        stream.seek(start)
        # read1 hands over what has arrived: a connection that breaks loses no byte that came through it.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            stream.write(chunk)
            progress.advance(len(chunk))
            if not head_checked and stream.tell() >= verify.HEAD_BYTES:
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
def _locked(part: Path):
    """Hold the part file alone: two runs that share a folder would write into each other's bytes."""
    with part.open("ab") as stream:
        try:
            # flock, not lockf: the latter is lost as soon as this process closes the file once.
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{part} is being downloaded by another process: wait for it, then run again.") from None
        except OSError:  # a file system without locks: go on as one did before locks
            pass
        try:
            yield
        finally:
            if part.exists() and not _size(part):
                part.unlink()


def _notes(part: Path) -> Path:
    """Where the address, validator and length of the transfer in ``part`` are noted."""
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    """Forget the transfer. The part file is emptied and not deleted, because its lock is held."""
    if part.exists():
        with part.open("r+b") as stream:
            stream.truncate(0)
    _notes(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _validator(response: requests.Response) -> str | None:
    """What identifies this version of the file in If-Range: a strong ETag, or else its date (RFC 9110, 13.1.5)."""
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
