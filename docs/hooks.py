"""Text of the documentation website that comes from other places: files of the repository, and the help of each subcommand."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # page of docs/: file with its text
    "index.md": "README.md",
    "configuration.md": "config/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
WITHIN = [("](docs/", "]("), ("](../docs/", "](")]  # links from these files to pages
WITHIN += [(f"]({up}{origin}", f"]({page}") for page, origin in PAGES.items() for up in ("", "../")]


def on_page_markdown(markdown: str, page, **_) -> str:
    """Return the text of a page: its own, or the text from its place of origin with links that fit the website."""
    name = page.file.src_uri
    if name == "command_line.md":
        command = [sys.executable, "-m", "typer", "neurocohort.cli", "utils", "docs", "--name", "neurocohort"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if name in PAGES:
        markdown = (ROOT / PAGES[name]).read_text(encoding="utf-8")
    for written, fitting in WITHIN:
        markdown = markdown.replace(written, fitting)
    return markdown
