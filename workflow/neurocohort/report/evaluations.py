"""How many models were evaluated on an experiment's held-out participants, by the record of evaluations."""

from neurocohort.errors import InputError
from neurocohort.evaluation.record import FOLDER, Record, evaluation_of, read_record
from neurocohort.report import labels
from neurocohort.report.development import held_out
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment, Study
from neurocohort.study.members import all_experiments, members_of
from neurocohort.text import listed

SHOWN = 5  # names of experiments in a sentence


def evaluations_of(study: Study, experiment: Experiment) -> Record:
    """The recorded evaluations of models of the experiment's target on its held-out participants; empty where its samples or its
    networks are missing."""
    if isinstance(experiment.samples, Missing):
        return Record()
    name, results = experiment.name, study.folders.results
    settings = all_experiments({name: experiment.settings})[name]
    members = members_of(settings, study.block("split").get("folds", 0), experiment.test_folds)
    if not isinstance(experiment.networks, Missing):
        members = [member for member in members if member in experiment.networks.used_members]
    try:
        own = evaluation_of(results, study.name, name, settings, members).key
    except (OSError, InputError):
        return Record()
    return read_record(results.parent / FOLDER, held_out(experiment.samples), target=experiment.target, own=own)


def evaluations_sentence(record: Record, target: str) -> str:
    """A sentence on how many models of the target were evaluated on these participants, by the record."""
    unread = ""
    if record.problems:
        unread = f" {labels.counted(len(record.problems), 'file')} of {FOLDER}/ could not be read and {_is(record)} not counted."
    if not record.own:
        return (
            f"This evaluation is not on record under {FOLDER}/, so that how many models were evaluated on these held-out "
            f"participants is not known.{unread}"
        )
    words = labels.target(target)
    others = [
        labels.counted(count, noun)
        for count, noun in (
            (record.without_site, "network trained without a site"),
            (record.on_curve, "other point of a learning curve"),
            (record.labels_only, "labels-only network"),
            (record.from_generated, "network trained on generated images"),
            (record.controls, "control"),
        )
        if count
    ]
    unread = (f" Tested on them as well: {listed(others)}." if others else "") + unread
    if record.models == 1:
        return f"On record, one model of {words} was evaluated on these held-out participants: this one.{unread}"
    more = f" and {len(record.experiments) - SHOWN} more" if len(record.experiments) > SHOWN else ""
    return (
        f"On record, {record.models} different models of {words} were evaluated on some of these held-out participants, this one "
        f"among them ({listed(record.experiments[:SHOWN])}{more}): where results of one led to another, later figures are "
        f"optimistic.{unread}"
    )


def _is(record: Record) -> str:
    return "is" if len(record.problems) == 1 else "are"
