"""The results that the report reads: the columns of the tables, and the records in JSON files."""

from pathlib import Path

from pydantic import Field

from neurocohort.report.sources import Record

EXCLUSION_COLUMNS = ("participant_id", "scan_id", "stage", "reason")
SAMPLE_COLUMNS = ("scan_id", "participant_id", "cohort", "site", "part", "target", "age", "sex")
FLOW_COLUMNS = ("step", "scans", "participants", "cohort")
METRIC_COLUMNS = ("model", "cohort", "part", "group", "metric", "value", "ci_low", "ci_high", "n")
COMPARISON_COLUMNS = (
    *("baseline", "best", "cohort", "part", "group", "metric"),
    *("difference", "ci_low", "ci_high", "n", "in_favour_of"),
)
PREDICTED = ("cohort", "part", "scan_id", "participant_id")
INTERVAL_COLUMNS = {
    "regression": ("cohort", "part", "scan_id", "interval_low", "interval_high"),
    "classification": ("cohort", "part", "scan_id", "set"),
}
PREDICTION_COLUMNS = {
    "regression": (*PREDICTED, "site", "target", "prediction"),
    "classification": (*PREDICTED, "site", "target", "prediction"),
    "segmentation": (*PREDICTED, "tissue", "dice", "volume_ml", "reference_ml"),
}
APPLIED_COLUMNS = {
    "regression": (*PREDICTED, "prediction", "spread", "reason"),
    "classification": (*PREDICTED, "prediction", "spread", "reason"),
    "segmentation": (*PREDICTED, "reason"),
}
SPREAD_COLUMNS = ("cohort", "part", "metric", "members", "mean", "sd", "lowest", "highest")
REPEATABILITY_COLUMNS = ("model", "cohort", "part", "scans", "gap_years", "metric", "value", "ci_low", "ci_high", "n")
CONFUSION_COLUMNS = ("cohort", "part", "model", "threshold", "true", "called", "scans", "participants")
CURVE_COLUMNS = ("cohort", "part", "model", "curve", "x", "y", "low", "high", "n")
SHIFT_COLUMNS = (
    *("model", "trained_on", "development_participants", "cohort", "site", "part", "seen"),
    *("metric", "value", "ci_low", "ci_high", "n"),
)
LEARNING_CURVE_COLUMNS = (
    *("start", "participants", "metric", "value", "ci_low", "ci_high", "interval", "n"),
    *("minus_applied", "minus_applied_low", "minus_applied_high"),
    *("minus_random", "minus_random_low", "minus_random_high", "note"),
)
ADAPTATION_COLUMNS = (
    *("kind", "method", "compared_with", "cohort", "site", "metric", "value", "ci_low", "ci_high", "interval", "n"),
    *("difference", "difference_low", "difference_high", "note"),
)
FEW_LABELS_COLUMNS = (
    *("model", "metric", "value", "ci_low", "ci_high", "interval", "n"),
    *("difference", "difference_low", "difference_high", "note"),
)
GENERATION_COLUMNS = (
    *("question", "model", "metric", "value", "ci_low", "ci_high", "interval", "n"),
    *("difference", "difference_low", "difference_high", "note"),
)
REGION_COLUMNS = (
    *("region", "name", "voxels", "volume_ml", "change", "change_low", "change_high", "change_per_ml"),
    *("error_change", "error_change_low", "error_change_high", "share", "share_low", "share_high"),
    *("random_share", "random_low", "random_high", "minus_random", "minus_random_low", "minus_random_high"),
    *("permuted_share", "minus_permuted", "minus_permuted_low", "minus_permuted_high", "n", "note"),
)
TRANSLATION_COLUMNS = (
    *("model", "cohort", "part", "metric", "value", "ci_low", "ci_high", "interval", "n"),
    *("difference", "difference_low", "difference_high", "best"),
)
NETWORK_COLUMNS = (
    *("member", "attempts", "epochs", "best_epoch", "spread", "least_spread", "edge"),
    *("learned", "used", "reason"),
)
SWEEP_COLUMNS = ("draw", "validation_loss", "criterion", "chosen")  # the others are the values of the draw
HISTORY_COLUMNS = ("epoch", "train_loss", "validation_loss", "best")


class Learning(Record):
    """What run.json records on whether the network learned something; None where it was not judged."""

    learned: bool | None = None


class Pretrained(Record):
    """What run.json has of a pretraining; see `learning.run_record.Pretrained`."""

    validation_loss: float | None = None
    baseline_loss: float
    training_scans: int
    training_participants: int
    validation_scans: int
    validation_participants: int


class Unlabelled(Record):
    """What run.json has of scans without a label map; see `learning.run_record.UnlabelledScans`."""

    scans: int
    participants: int


class Run(Record):
    """run.json: the facts of one training. ``settings`` are those of `learning.settings.TrainingSettings`."""

    settings: dict = Field(default_factory=dict)
    task: dict = Field(default_factory=dict)
    parameters: int | None = None
    epochs_run: int | None = None
    best_epoch: int | None = None
    seed: int | None = None
    device: str | None = None
    torch: str | None = None
    precision: str | None = None
    learning: Learning = Learning()
    pretraining: Pretrained | None = None
    adversarial_sites: dict[str, int] = Field(default_factory=dict)
    unlabelled: Unlabelled | None = None

    @property
    def keep(self) -> str:
        """Which weights were kept: ``best``, ``last``, ``averaged`` or ``ema``."""
        return self.settings.get("keep", "best")


class Control(Record):
    """control.json: whether an experiment on permuted targets ended at chance; ``holds`` is None where that isn't known."""

    holds: bool | None = None
    sentence: str = ""


class SaliencyRecord(Record):
    """saliency.json: how the saliency map was made, and its correlation with that of a network with random weights."""

    method: str
    scans: int
    part: str
    correlation: float | None
    member: str = "the first"


class RegionAgreement(Record):
    """The mean rank correlation of the regions' shares over pairs of networks, with its interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0


class RegionRecord(Record):
    """regions.json: how the importance of regions was measured, and how well the networks agree."""

    atlas: str
    scans: int
    participants: int
    regions: int
    not_evaluated: int
    random_networks: int
    permuted_networks: int = 0
    members: list[str] = Field(default_factory=list)
    agreement: RegionAgreement = RegionAgreement()
    random_agreement: RegionAgreement = RegionAgreement()


class ScanRecord(Record):
    """*_qc.json: the record of a preprocessed scan."""

    outputs: dict[str, dict | None] | None = None

    @property
    def files(self) -> dict[str, str]:
        """The names of its files by kind."""
        return {kind: Path(entry["file"]).name for kind, entry in (self.outputs or {}).items() if entry}
