"""What became of a scan: its prediction, its flags, and why it has none."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from neurocohort.apply.scans import RawScan
from neurocohort.imaging.scan_results import PreprocessedScan
from neurocohort.imaging.volume import Volume

PREDICTED, REFUSED, FAILED = "predicted", "refused", "failed"
Cell = str | int | float


@dataclass(frozen=True)
class Flag:
    """One respect in which a scan differs from the training scans: the kind in a word or two, and a sentence."""

    kind: str
    sentence: str


@dataclass(frozen=True)
class Outcome:
    """What became of a scan.

    Attributes:
        scan: The scan.
        status: ``predicted``, ``refused`` (flagged, and flagged scans were to be refused) or ``failed``.
        reason: Why it has no prediction; empty if it has one.
        prediction: The columns of its prediction; empty without one, and for a segmentation.
        flags: In which respects it differs from the training scans.
        not_compared: What couldn't be compared because it isn't known, such as ``age``.
        result: What preprocessing found; None where the file couldn't be opened.
        scores: By quality number, and ``features``, its score.
        labels: Of a segmentation, the label map on the scan's own grid: 0 background, 1 to n the structures.
        volumes_ml: Of a segmentation, by structure; empty for a scan in MNI space, which hasn't the head's own size.
        seconds: How long it took.
    """

    scan: RawScan
    status: str
    reason: str = ""
    prediction: Mapping[str, Cell] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    result: PreprocessedScan | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    labels: Volume | None = None
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def predicted(self) -> bool:
        return self.status == PREDICTED

    @property
    def numbers(self) -> dict[str, float | None]:
        """The quality numbers, and the volumes as ``volume_<name>_ml``."""
        if self.result is None:
            return {}
        volumes = {f"volume_{name}_ml": value for name, value in self.result.volumes_ml.items()}
        return dict(self.result.metrics) | volumes
