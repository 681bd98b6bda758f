"""The readable contents of a file: its text in all spellings, and what is inside of archives, compressed files and base64."""

import base64
import binascii
import gzip
import html
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

DEEPEST = 6  # archives in archives
BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40,}={0,2}")
# The same where it is no path, whatever is in it.
ENCODED = re.compile(r"(?<=base64,)[A-Za-z0-9+/=]+|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{200,}={0,2}")
HEXADECIMAL = re.compile(r"[0-9a-f]+|[0-9A-F]+")
ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
ZIP, GZIP, ZLIB_PNG = b"PK\x03\x04", b"\x1f\x8b", b"\x89PNG\r\n\x1a\n"
MOST_HEADER = 100_000_000  # bytes of a safetensors header, its format's own limit
COMPRESSED_TEXT = {b"zTXt", b"iTXt"}


_LETTER = (
    rb"[0-9A-Za-z _./:\\,'()@%+~-]|[\xc3-\xdf][\x80-\xbf]"  # of a text in a binary file: ASCII, and accents in UTF-8
)
WORDS = re.compile(rb"(?:" + _LETTER + rb"){6,}")
WORDS_UTF16 = re.compile(rb"(?:[0-9A-Za-z _./:\\,'()@%+~-]\x00){6,}")


class Piece(NamedTuple):
    """Some content of a file: where it is in words, its text, and whether the text is that in bytes of unknown meaning."""

    where: str
    text: str
    binary: bool


def pieces(where: str, content: bytes, depth: int = 0) -> Iterator[Piece]:
    """Yield the contents of a file, and those of the files in it.

    Args:
        where: The file's name.
        content: Its bytes.
        depth: In how many archives it is.
    """
    if depth > DEEPEST:
        yield Piece(f"{where} (too deep to unpack)", _words_in(content), True)
    elif content.startswith(ZIP):
        yield from _zipped(where, content, depth)
    elif content.startswith(GZIP):
        try:
            yield from pieces(f"{where} (unpacked)", gzip.decompress(content), depth + 1)
        except (OSError, EOFError, zlib.error):
            yield Piece(where, _words_in(content), True)
        yield Piece(f"{where} (gzip header)", _words_in(content[:1024]), True)
    elif content.startswith(ZLIB_PNG):
        yield from _png(where, content, depth)
    elif header := _safetensors_header(content):
        yield from _spellings(f"{where} (metadata)", header)
        yield Piece(where, _words_in(content[8 + len(header.encode()) :]), True)
    else:
        yield from _plain(where, content, depth)


def _plain(where: str, content: bytes, depth: int) -> Iterator[Piece]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        yield Piece(where, _words_in(content), True)
        return
    for match in BASE64.finditer(text):
        code = match.group()
        if HEXADECIMAL.fullmatch(code):
            continue
        try:
            inside = base64.b64decode(code + "=" * (-len(code) % 4), validate=True)
        except (binascii.Error, ValueError):
            continue
        yield from pieces(f"{where} (base64 in it)", inside, depth + 1)
    yield from _spellings(where, ENCODED.sub("", text))


def _spellings(where: str, text: str) -> Iterator[Piece]:
    """A text as it is and, if they differ, without the escapes of HTML, of addresses and of JSON."""
    others = (
        html.unescape(text.replace("<wbr>", "")),
        unquote(text) if "%" in text else text,
        ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), text),
    )
    for spelling in dict.fromkeys((text, *others)):
        yield Piece(where, spelling, False)


def _words_in(content: bytes) -> str:
    """The texts of six letters or more in binary content, one per line."""
    found = [match.decode("utf-8", "replace") for match in WORDS.findall(content)]
    found += [match.decode("utf-16-le") for match in WORDS_UTF16.findall(content)]
    return "\n".join(found)


def _zipped(where: str, content: bytes, depth: int) -> Iterator[Piece]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield Piece(f"{where} (comment)", archive.comment.decode("utf-8", "replace"), False)
            for entry in archive.infolist():
                inner = f"{where}!{entry.filename}"
                yield Piece(f"{inner} (name)", entry.filename, False)
                yield Piece(f"{inner} (comment)", entry.comment.decode("utf-8", "replace"), False)
                yield from pieces(inner, archive.read(entry), depth + 1)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError):
        yield Piece(where, _words_in(content), True)


def _png(where: str, content: bytes, depth: int) -> Iterator[Piece]:
    """The bytes of a PNG image, and its compressed texts."""
    yield Piece(where, _words_in(content), True)
    place = len(ZLIB_PNG)
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        data = content[place + 8 : place + 8 + length]
        if kind in COMPRESSED_TEXT:
            _, _, rest = data.partition(b"\0")
            for start in range(1, min(8, len(rest))):  # the flags before the text differ by kind
                try:
                    yield from pieces(f"{where} (text in it)", zlib.decompress(rest[start:]), depth + 1)
                    break
                except zlib.error:
                    continue
        place += 12 + length


def _safetensors_header(content: bytes) -> str:
    """The JSON header of a safetensors file; empty if it is none."""
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(MOST_HEADER, len(content) - 8) or content[8:9] != b"{":
        return ""
    try:
        header = content[8 : 8 + length].decode("utf-8")
        return header if isinstance(json.loads(header), dict) else ""
    except ValueError:
        return ""
