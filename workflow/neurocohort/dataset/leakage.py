"""The guard against leakage: no participant and no image is in two parts of a split. It can't be switched off."""

import pandas as pd

from neurocohort.dataset.class_values import few_values
from neurocohort.dataset.folds import EXTERNAL, HELD_OUT, with_test_fold
from neurocohort.dataset.runs import TEST_FOLD
from neurocohort.errors import InputError

COLUMNS = ("cohort", "scan_id", "participant_id", "part", "voxels_sha256")


def check_no_leakage(samples: pd.DataFrame) -> None:
    """Raise InputError if a person or an image is in two parts.

    Checked are the participants of each cohort, participants with the same participant_id in two cohorts (who may be one person),
    and images with the same voxels under two names, within and between cohorts, including external ones. With test folds, whose
    trainings each have parts of their own, a part and a test fold together are one part: two scans with the same pair are in
    the same part of every training, and two with different pairs are not.

    Args:
        samples: A row per scan: cohort, scan_id, participant_id, part (or fold), voxels_sha256, and test_fold if there are any.
    """
    if "test_fold" in samples:
        folds = samples["test_fold"].astype(object)
        numbers = folds.map(lambda fold: "" if pd.isna(fold) else f" in test fold {int(fold)}")
        samples = samples.assign(part=samples["part"].astype(str) + numbers)
    missing = [name for name in COLUMNS if name not in samples]
    if missing:
        raise InputError(
            f"the samples lack the column(s) {', '.join(missing)}, without which leakage can't be ruled out; an earlier version "
            "made them. Delete the cohort's `data/<cohort>/scans.tsv` and run again."
        )
    nameless = samples.loc[samples["voxels_sha256"].isna() | samples["participant_id"].isna(), "scan_id"]
    if len(nameless):
        raise InputError(
            f"{len(nameless)} scan(s) have no participant_id or no voxels_sha256, without which leakage can't be ruled out: "
            f"{few_values(sorted(map(str, nameless)), '; ')}. Delete the cohort's `data/<cohort>/scans.tsv` and run again."
        )
    _check_participants(samples)
    _check_namesakes(samples)
    _check_images(samples)


def check_not_held_out(samples: pd.DataFrame, test_fold: int) -> None:
    """Raise InputError if the samples of a training contain a held-out one: of the held-out part, or of ``test_fold`` if that
    isn't 0, also by its pack."""
    held_out = samples["part"] == HELD_OUT
    if test_fold:
        if "test_fold" not in samples:
            raise InputError(
                f"the samples of a training for test fold {test_fold} have no column test_fold; delete the experiment's folder "
                "`training` and run again."
            )
        held_out |= (samples["test_fold"] == test_fold).fillna(True).astype(bool)
        held_out |= samples["pack"] == TEST_FOLD.format(test_fold)
    if held_out.any():
        raise InputError(
            f"{held_out.sum()} of the samples to train on are held out: {few_values(sorted(samples.loc[held_out, 'scan_id']))}; "
            "expected none. Delete the experiment's folder `training` and run again."
        )


def check_unseen(samples: pd.DataFrame, learned: pd.DataFrame, pretraining: str, test_fold: int = 0) -> None:
    """Raise InputError if a pretraining, whose weights an experiment starts from, learned from anybody whom it tests.

    Persons are compared by their participant_id, in all cohorts, and images by their voxels.

    Args:
        samples: The samples of the experiment; those held out and external ones are tested.
        learned: The samples that the pretraining learned from and chose its epoch on.
        pretraining: Its name.
        test_fold: The test fold that both trainings leave out; 0 without test folds.
    """
    names = _tested(samples, learned, test_fold)
    if names:
        raise InputError(
            f"the pretraining {pretraining}, which this experiment starts from, learned from {len(names)} of the scans that the "
            f"experiment tests, or from their participants: {few_values(names, '; ')}; expected none. Leave these scans "
            f"out of {pretraining} by its `filter`, or remove their cohort from one of the two. If they are different people "
            "with the same participant_id, rename them in one of the cohorts."
        )


def check_unlabelled(samples: pd.DataFrame, unlabelled: pd.DataFrame) -> None:
    """Raise InputError if a scan that is learned from without its label map is of anybody whom the experiment tests.

    Compared as in `check_unseen`. ``samples``: of the experiment; ``unlabelled``: of its training and validation parts.
    """
    names = _tested(samples, unlabelled, 0)
    if names:
        raise InputError(
            f"`semi_supervised` learns from {len(names)} of the scans that the experiment tests, or from their participants: "
            f"{few_values(names, '; ')}; expected none. Leave these scans out by the experiment's `filter`, or remove their "
            "cohort from `external`. If they are different people with the same participant_id, rename them in one of the "
            "cohorts."
        )


def _tested(samples: pd.DataFrame, learned: pd.DataFrame, test_fold: int) -> list[str]:
    """The scans of ``samples`` that are tested and whose participant or voxels are in ``learned``, in words."""
    own = with_test_fold(samples, test_fold)
    tested = own[own["part"].isin((HELD_OUT, EXTERNAL))]
    same = _also_in(tested, learned)
    return sorted(f"{row.scan_id} ({row.cohort}: {row.part})" for row in tested[same].itertuples())


def check_features_unseen(sessions: pd.DataFrame, learned: pd.DataFrame, network: str) -> None:
    """Raise InputError if the network whose features are inputs of a longitudinal analysis learned from anybody who is tested.

    Args:
        sessions: The sessions of the analysis; those of the held-out part are tested.
        learned: The samples that ``network``, or one that it started from, learned from and chose its epoch on.
        network: The name of the experiment with these samples.
    """
    tested = sessions[sessions["part"] == HELD_OUT]
    same = _also_in(tested, learned)
    if same.any():
        names = [f"{row.scan_id} ({row.cohort})" for row in tested[same].itertuples()]
        raise InputError(
            f"the experiment {network}, whose features are used, learned from {same.sum()} of the held-out sessions, or from "
            f"their participants: {few_values(sorted(names), '; ')}; expected none. Take the features of an experiment with the "
            "same split, or leave these participants out by the `filter` of the analysis."
        )


def _also_in(tested: pd.DataFrame, learned: pd.DataFrame) -> pd.Series:
    """The rows of ``tested`` whose participant or image is in ``learned``, bool."""
    same = tested["participant_id"].astype(str).isin(learned["participant_id"].astype(str))
    found: pd.Series = same | tested["voxels_sha256"].isin(learned["voxels_sha256"])
    return found


def _in_two_parts(samples: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The rows whose ``keys`` occur in more than one part, in the order of the keys."""
    if not samples.duplicated(keys).any():  # the usual case, and fast
        return samples.head(0)
    crossing = samples.groupby(keys, sort=False)["part"].transform("nunique") > 1
    return samples[crossing].sort_values([*keys, "cohort", "scan_id"])


def _check_participants(samples: pd.DataFrame) -> None:
    found = _in_two_parts(samples, ["cohort", "participant_id"])
    names = [
        f"{who} of {cohort} ({', '.join(f'{row.scan_id}: {row.part}' for row in rows.itertuples())})"
        for (cohort, who), rows in found.groupby(["cohort", "participant_id"])
    ]
    if names:
        raise InputError(
            f"{len(names)} participant(s) are in more than one part of the split: {few_values(names, '; ')}. "
            "A person's scans must be in one part; correct the split, or, if they are different people, give them "
            "different participant_ids."
        )


def _check_namesakes(samples: pd.DataFrame) -> None:
    people = samples.drop_duplicates(["cohort", "participant_id"])
    found = _in_two_parts(people, ["participant_id"])
    names = [
        f"{who} ({', '.join(f'{row.cohort}: {row.part}' for row in rows.itertuples())})"
        for who, rows in found.groupby("participant_id")
    ]
    if names:
        cohorts = " and ".join(sorted(found["cohort"].unique()))
        raise InputError(
            f"{len(names)} participant(s) of {cohorts} have the same participant_id and are in different parts of the split: "
            f"{few_values(names, '; ')}. If they are different people, rename them in one of the cohorts, so that no name is in "
            "both; if they are the same, use one of the cohorts, or give the cohorts a `split_file` each in which "
            "they have one part."
        )


def _check_images(samples: pd.DataFrame) -> None:
    found = _in_two_parts(samples, ["voxels_sha256"])
    names = [
        " = ".join(f"{row.scan_id} ({row.cohort}: {row.part})" for row in rows.itertuples())
        for _, rows in found.groupby("voxels_sha256")
    ]
    if names:
        raise InputError(
            f"{len(names)} image(s) are in more than one part of the split under different names, voxel for voxel the same: "
            f"{few_values(sorted(names), '; ')}. If they are one person's, give the scans one participant_id; otherwise find out "
            "whose the image is, and leave the others out: by the experiment's `filter` (scan_id not in [...]), or at "
            "their source."
        )
