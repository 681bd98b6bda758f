"""What the tests of the doctor and the schedulers share."""

from pathlib import Path

from neurocohort.cluster.doctor.findings import Finding

ROOT = Path(__file__).resolve().parents[2]


def one(findings: list[Finding], mark: str) -> Finding:
    """The only finding with ``mark``."""
    (found,) = [finding for finding in findings if finding.mark == mark]
    return found
