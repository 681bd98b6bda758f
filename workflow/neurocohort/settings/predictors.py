"""The keys `experiments.<name>.predictors`: predictions that another tool made, and what the rule that reads them depends on."""

from pydantic import Field

from neurocohort.settings.base import Group, Name, Path


class Predictor(Group):
    """A table of predictions that another tool made."""

    file: Path = Field(
        title="a .csv, .tsv or .xlsx file",
        description="A table with one row a scan, relative to the working directory: `scan_id`, or `participant_id` and, where "
        "somebody has several scans, `session_id`; and the predictions. See "
        "[Predictions from elsewhere](#predictions-from-elsewhere).",
    )
    column: str | None = Field(
        None,
        min_length=1,
        title="the name of a column",
        description="The column with the predictions. It may be left out if the table has one column of numbers.",
    )


class PredictorSettings(Group):
    """What the predictions from elsewhere depend on besides the samples and the tables.

    ``folds``: of the cross-validation, 0 for none.
    """

    task: str
    target: str
    folds: int
    predictors: dict[Name, Predictor]
