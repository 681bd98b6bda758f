"""Where the workflow's own files lie."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SNAKEFILE = "Snakefile"


def workflow_files(checkout: Path = CHECKOUT) -> list[Path]:
    """The Snakefile that users run, the one that it includes, and that one's rule files, in this order; none where the package
    is installed without them."""
    files = [checkout / SNAKEFILE, checkout / "workflow" / SNAKEFILE]
    return [*files, *sorted((checkout / "workflow" / "rules").glob("*.smk"))] if all(map(Path.is_file, files)) else []
