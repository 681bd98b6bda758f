"""What the documentation site takes from elsewhere: files of the root folder, and the help of every subcommand."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # of docs/, each a line that says where its text is
    "index.md": "README.md",
    "configuration.md": "config/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}


def on_page_markdown(markdown: str, page, **_) -> str:
    """Return the text of a page that has none of its own."""
    name = page.file.src_uri
    if name in PAGES:
        text = (ROOT / PAGES[name]).read_text(encoding="utf-8").replace("](docs/", "](")
        return text.replace("](CONTRIBUTING.md", "](contributing.md")
    if name == "command_line.md":
        command = [sys.executable, "-m", "typer", "neurocohort.cli", "utils", "docs", "--name", "neurocohort"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return markdown
