"""Where a cohort's scans and reference labels are from, by its block of the configuration. Other modules put it into words."""

from neurocohort.study.cohorts import SYNTHETIC_FOLDER

FAST, PAINTED, GIVEN = "FAST", "painted", "given"  # reference labels: OASIS-1's, the synthetic scans', a cohort's own


def synthetic(settings: dict) -> bool:
    """Whether the cohort reads the archives that the workflow painted."""
    archives = str(settings.get("base_url") or "").removeprefix("file://").rstrip("/")
    return archives == f"{SYNTHETIC_FOLDER}/{settings.get('source')}"


def from_publisher(settings: dict) -> bool:
    """Whether the archives came from the published addresses, where their sizes and checksums are known."""
    return settings.get("source") in ("ixi", "oasis1") and not settings.get("base_url")


def reference_labels(settings: dict) -> str:
    """How the cohort's label maps were made: FAST, PAINTED or GIVEN."""
    if synthetic(settings):
        return PAINTED
    return FAST if settings.get("source") == "oasis1" else GIVEN
