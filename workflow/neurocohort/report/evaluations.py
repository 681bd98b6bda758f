"""How many different models were evaluated on an experiment's held-out participants, from the record of evaluations."""

from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.evaluation.record import FOLDER, Record, evaluation_of, read_record
from neurocohort.report import labels
from neurocohort.report.networks import networks_of
from neurocohort.study.members import all_experiments, members_of
from neurocohort.text import listed

SHOWN = 5  # names of experiments that a sentence has room for


def evaluations_of(results: Path, experiment: str, samples: pd.DataFrame | None, configuration: dict) -> Record:
    """What is on record beside ``results`` for models of the experiment's target on its held-out participants.

    ``samples``: samples.tsv; None, and networks that are not there, leave an empty record.
    """
    if samples is None:
        return Record()
    settings = all_experiments({experiment: configuration["experiments"][experiment]})[experiment]
    members = members_of(settings, (configuration.get("split") or {}).get("folds", 0))
    networks = networks_of(results, experiment)
    if networks is not None:
        members = [member for member in members if member in networks.used_members]
    try:
        own = evaluation_of(results, configuration["study"], experiment, settings, members).key
    except (OSError, InputError):
        return Record()
    held_out = samples[samples["part"] == "held-out"]
    return read_record(results.parent / FOLDER, held_out, target=settings["target"], own=own)


def evaluations_sentence(record: Record, target: str) -> str:
    """How many models of the target were evaluated on these participants, as far as the record goes."""
    unread = ""
    if record.problems:
        unread = f" {labels.counted(len(record.problems), 'file')} of {FOLDER}/ could not be read and {_is(record)} not counted."
    if not record.own:
        return (
            f"This evaluation is not on record under {FOLDER}/, so that how many models were evaluated on these held-out "
            f"participants is not known.{unread}"
        )
    words = labels.target(target)
    beside = [
        labels.counted(count, noun)
        for count, noun in ((record.without_site, "network trained without a site"), (record.controls, "control"))
        if count
    ]
    unread = (f" Tested on them as well: {listed(beside)}." if beside else "") + unread
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
