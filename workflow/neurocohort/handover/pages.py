"""The report without the pictures of single scans: links to what was left out become plain text, and its crate fits the files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from neurocohort.files import sha256_of

IMAGES = ("subjects", "mosaics")  # folders of the report with images of single persons
PLACES = "|".join(IMAGES)
PICTURE = re.compile(rf"<img\b[^>]*\bsrc=\"(?:{PLACES})/[^>]*>")
LINK = re.compile(rf"<a\b[^>]*\bhref=\"(?:{PLACES})/[^>]*>(.*?)</a>", re.DOTALL)
ZIP_LINK = re.compile(r"<a\b[^>]*\bhref=\"report\.zip\"[^>]*>(.*?)</a> has this page with everything it shows\.")
TARGET = re.compile(r"\b(?:href|src)=\"([^\"#]+)(?:#[^\"]*)?\"")
NOTICE = (
    '<p class="prose" role="note">This copy was made to be handed over: ids are hashes and dates are years.{more}</p>'
)
LEFT_OUT = " The pictures and pages of single scans were left out."
MAIN = re.compile(r"<main\b[^>]*>")


def handed_over(page: str, *, images: bool) -> str:
    """The HTML page of the report with a notice at its top, and without links to its zip and, unless it has them, `IMAGES`."""
    page = ZIP_LINK.sub("", page)
    if not images:
        page = LINK.sub(lambda match: match.group(1), PICTURE.sub("", page))
    notice = NOTICE.format(more="" if images else LEFT_OUT)
    return MAIN.sub(lambda match: f"{match.group()}\n{notice}", page, count=1)


def broken_links(folder: Path) -> Iterator[str]:
    """Yield ``page: target`` for each local link of the HTML pages in ``folder`` whose file isn't there."""
    for page in sorted(folder.rglob("*.html")):
        for target in TARGET.findall(page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target) and not (page.parent / unquote(target)).exists():
                yield f"{page.relative_to(folder)}: {target}"


def update_crate(metadata: Path) -> None:
    """Correct the hashes and sizes in an RO-Crate after its files changed, and remove what is no longer there."""
    crate = json.loads(metadata.read_text(encoding="utf-8"))
    entities, gone = [], set()
    for entity in crate["@graph"]:
        name = entity["@id"]
        path = metadata.parent / name
        if "sha256" in entity and path.is_file():
            entity |= {"sha256": sha256_of(path), "contentSize": str(path.stat().st_size)}
        local = {"File", "Dataset"} & set(_listed(entity.get("@type"))) and name != "./" and ":" not in name
        if local and not path.exists():
            gone.add(name)
        else:
            entities.append(entity)
    crate["@graph"] = [{key: _without(value, gone) for key, value in entity.items()} for entity in entities]
    metadata.write_text(json.dumps(crate, indent=4, sort_keys=True, ensure_ascii=False), encoding="utf-8")


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _without(value: object, gone: set[str]) -> object:
    if not isinstance(value, list):
        return value
    return [one for one in value if not (isinstance(one, dict) and one.get("@id") in gone)]
