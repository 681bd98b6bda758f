"""The keys `report`: what the report contains in addition to its page."""

from pydantic import Field

from neurocohort.settings.base import Group


class Report(Group):
    """What the report contains in addition to its page."""

    viewers: int = Field(
        12,
        ge=0,
        le=10000,
        description="Scans whose page gets a viewer of the whole volume, some 0.3 to 1 MB each: the best, median and worst case "
        "of each experiment first, then the scans with the most unusual quality numbers, then any.",
    )
