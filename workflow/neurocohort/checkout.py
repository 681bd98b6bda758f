"""The places of the workflow's own files."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SNAKEFILE = "Snakefile"


def workflow_files(checkout: Path = CHECKOUT) -> list[Path]:
    """The Snakefile that users run, the included one, and its rule files, in this order; none if the package has no workflow."""
    files = [checkout / SNAKEFILE, checkout / "workflow" / SNAKEFILE]
    return [*files, *sorted((checkout / "workflow" / "rules").glob("*.smk"))] if all(map(Path.is_file, files)) else []
