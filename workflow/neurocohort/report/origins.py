"""The origin of a cohort's scans and reference labels, by its block of the configuration."""

from neurocohort.study.cohorts import SYNTHETIC_FOLDER

FAST, PAINTED, GIVEN = "FAST", "painted", "given"  # reference labels: OASIS-1's, the synthetic scans', a cohort's own


def synthetic(settings: dict) -> bool:
    """Whether the cohort's archives are the workflow's synthetic ones."""
    archives = str(settings.get("base_url") or "").removeprefix("file://").rstrip("/")
    return archives == f"{SYNTHETIC_FOLDER}/{settings.get('source')}"


def from_publisher(settings: dict) -> bool:
    """Whether the archives are from the published addresses, with known sizes and checksums."""
    return settings.get("source") in ("ixi", "oasis1") and not settings.get("base_url")


def reference_labels(settings: dict) -> str:
    """How the cohort's label maps were made: FAST, PAINTED or GIVEN."""
    if synthetic(settings):
        return PAINTED
    return FAST if settings.get("source") == "oasis1" else GIVEN
