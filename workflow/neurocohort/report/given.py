"""What the page states on predictions from elsewhere: where they came from, of how many scans, and what isn't known of them."""

from pathlib import Path

from neurocohort.evaluation.measures import GIVEN
from neurocohort.report import labels
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.text import listed


def given_models(part: Part, content: Content) -> None:
    """Put the sentences on the predictions from elsewhere of one part into ``content``; nothing without such predictions."""
    given, notes = part.experiment.given, part.experiment.given_notes
    for missing in (given, notes):
        if isinstance(missing, Missing):
            content.details.append(missing)
    if given is None or isinstance(given, Missing) or isinstance(part.predictions, Missing):
        return
    scans = part.predictions["scan_id"]
    names = []
    for name, predictor in part.experiment.settings["predictors"].items():
        own, shown = given.loc[given["model"] == f"{GIVEN}{name}", "scan_id"], labels.model(GIVEN + name)
        names.append(f"{shown}, from {Path(predictor['file']).name}")
        content.sentences.append(
            f"{shown}: predictions for {scans.isin(own).sum()} of {labels.counted(len(scans), 'scan')} of this part. The paired "
            "comparison with the network is of the participants that both have."
        )
    content.sentences.append(
        f"Predictions that another tool made ({listed(names)}) are no baseline of this study and no part of its verdict. It is "
        "not known whether that tool was trained on these participants; if it was, its results here are too good."
    )
    if part.cohort is None and notes is not None and not isinstance(notes, Missing):
        content.sentences += [str(note) for note in notes["note"]]
