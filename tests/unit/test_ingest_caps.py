"""What a user of ClinicaDL gets from a CAPS folder: the t1-linear image of each session, and a note on what is left out."""

import json
import shutil

import pandas as pd
import pytest
from bids_place import compressed, nifti
from caps_trees import write_caps
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.template import make_template, read_template
from neurocohort.settings.cohorts import Cohort
from neurocohort.sources.caps import ingest_caps
from neurocohort.sources.caps_plan import plan_caps
from neurocohort.sources.fingerprints import fingerprint_caps, fingerprint_local, note_sources
from neurocohort.study.cohorts import survey_of_cohort

LABELS = [
    ["participant_id", "session_id", "diagnosis", "age", "sex"],
    ["sub-01", "ses-M000", "CN", 71.5, "M"],
    ["sub-01", "ses-M012", "CN", 72.5, "M"],
    ["sub-02", "ses-M000", "AD", 80, "F"],
]
CROP = "_desc-Crop"


class CapsPlace:
    """A user's CAPS folder with a table, and what an ingest makes of it."""

    def __init__(self, folder):
        self.caps, self.labels, self.folder = folder / "caps", folder / "labels.tsv", folder / "data" / "mine"
        self.images = 0

    def image(self, participant, session, *, crop="", run="", modality="T1w"):
        self.images += 1
        place = self.caps / "subjects" / participant / session / "t1_linear"
        place.mkdir(parents=True, exist_ok=True)
        name = f"{participant}_{session}{run}_space-MNI152NLin2009cSym{crop}_res-1x1x1_{modality}.nii.gz"
        (place / name).write_bytes(compressed(nifti(seed=self.images)))
        return place / name

    def table(self, rows=LABELS):
        self.labels.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))

    def ingest(self, **options):
        self.result = ingest_caps(self.caps, self.folder, participants_tsv=self.labels, **options)
        self.notes = " ".join(self.result.notes)
        self.scans = read_table(self.folder / "scans.tsv").set_index("scan_id")
        return self

    def original(self, scan_id):
        return (self.folder / self.scans.loc[scan_id, "path"]).resolve()


@pytest.fixture
def place(tmp_path):
    """Two participants, three sessions, each with a whole and a cropped image, and labels.tsv."""
    place = CapsPlace(tmp_path)
    for participant, session, *_ in LABELS[1:]:
        place.image(participant, session)
        place.image(participant, session, crop=CROP)
    place.table()
    return place


def test_each_session_gets_its_whole_image_and_its_row(place):
    place.ingest()
    assert place.scans.index.tolist() == ["sub-01_ses-M000", "sub-01_ses-M012", "sub-02_ses-M000"]
    assert place.scans["age"].astype(float).tolist() == [71.5, 72.5, 80] and place.scans["sex"].tolist() == [
        "M",
        "M",
        "F",
    ]
    assert place.scans["diagnosis"].tolist() == ["CN", "CN", "AD"]
    assert all(CROP not in place.original(scan).name for scan in place.scans.index)
    assert not place.result.notes, "nothing had to be decided"


def test_a_cropped_image_is_taken_only_where_there_is_no_other_and_noted(place):
    shutil.rmtree(place.caps / "subjects/sub-02")
    cut = place.image("sub-02", "ses-M000", crop=CROP)
    place.ingest()
    assert place.original("sub-02_ses-M000") == cut.resolve()
    assert "1 session(s) have only the cropped image (desc-Crop), which is used: sub-02_ses-M000" in place.notes


def test_a_session_with_one_run_whole_and_another_cropped_uses_the_whole_one(place):
    whole = place.image("sub-03", "ses-M000", run="_run-02")
    place.image("sub-03", "ses-M000", run="_run-01", crop=CROP)
    place.ingest()
    assert place.original("sub-03_ses-M000") == whole.resolve()


def test_of_several_runs_the_study_chooses(place):
    runs = [place.image("sub-03", "ses-M000", run=f"_run-{number}") for number in ("01", "02")]
    assert place.ingest().original("sub-03_ses-M000") == runs[0].resolve()
    assert "_run-02_" in place.notes and "left out" in place.notes
    assert place.ingest(run="last").original("sub-03_ses-M000") == runs[1].resolve()


def test_other_pipelines_and_modalities_are_left_out_with_a_note(place):
    (place.caps / "subjects/sub-03/ses-M000/pet_linear").mkdir(parents=True)
    place.image("sub-04", "ses-M000", modality="flair")
    place.ingest()
    assert "no folder t1_linear in them: sub-03/ses-M000" in place.notes
    assert "1 session(s) with a t1_linear folder have no image that matches" in place.notes
    assert "sub-04_ses-M000" in place.notes


def test_sessions_and_participants_without_a_partner_are_noted(place):
    place.image("sub-03", "ses-M000")
    place.image("sub-02", "ses-M012")
    place.table([*LABELS, ["sub-05", "ses-M000", "CN", 60, "F"]])
    place.ingest()
    assert "participants of the tables have no image: sub-05" in place.notes
    assert "participant(s) with images are in no table and stay with n/a: sub-03" in place.notes
    assert "sub-02_ses-M012" in place.notes
    assert place.scans["age"].isna().sum() == 2


def test_a_table_of_participants_gives_each_session_the_same_values(place):
    place.table([["participant_id", "age", "sex"], ["sub-01", 70, "M"], ["sub-02", 80, "F"]])
    place.ingest()
    assert place.scans["age"].astype(float).tolist() == [70, 70, 80]
    assert "one age for all of their sessions" in place.notes


def test_a_dictionary_of_the_table_is_used_and_the_options_of_clinicadl_are_not(place):
    options = {"diagnoses": ["AD", "CN"], "modality": "t1w", "age": "ignored"}
    place.labels.with_suffix(".json").write_text(json.dumps(options))
    assert place.ingest().scans.loc["sub-02_ses-M000", "age"] == 80
    place.labels.with_suffix(".json").write_text(json.dumps({"age": {"Units": "months"}}))
    assert place.ingest().scans.loc["sub-02_ses-M000", "age"] == pytest.approx(80 / 12, abs=1e-3)


def test_without_a_table_all_variables_are_missing_and_a_note_says_so(place):
    plan = plan_caps(place.caps)
    assert len(plan.scans) == 3
    assert "The cohort has no participants_tsv" in str(plan.notes.notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda place: shutil.rmtree(place.caps), "isn't a folder; expected a CAPS folder, with subjects"),
        (lambda place: (place.caps / "subjects").rename(place.caps / "other"), "has no folder subjects"),
        (
            lambda place: (
                [one.rename(place.caps / one.name) for one in (place.caps / "subjects").iterdir()]
                and (place.caps / "subjects").rmdir()
            ),
            "For a BIDS folder write `source: bids`",
        ),
        (lambda place: setattr(place, "caps", place.caps / "subjects"), r"give the CAPS folder itself, .*caps\."),
        (
            lambda place: [
                one.rename(one.with_name("pet_linear")) for one in place.caps.glob("subjects/*/*/t1_linear")
            ],
            r"found there: only pet_linear\. .*clinica run t1-linear",
        ),
        (
            lambda place: [one.rename(one.with_name("T1w.nii.gz")) for one in place.caps.glob("subjects/*/*/*/*_res*")],
            "found there: sub-01/ses-M000/t1_linear/T1w.nii.gz",
        ),
        (
            lambda place: place.table([["subject", "age"], ["sub-01", 3]]),
            r"labels.tsv lacks the column\(s\) participant_id",
        ),
        (lambda place: place.table([["participant_id", "age"], ["A", 3]]), "none of them has an image"),
        (lambda place: place.table([*LABELS, ["sub-02", "", "AD", 80, "F"]]), "column session_id holds nothing"),
        (lambda place: place.table([*LABELS, ["sub-02", "ses-M000", "CN", 80, "F"]]), "rows 4 and 5 are both of"),
        (lambda place: place.table([LABELS[0], ["sub-01", "ses-M6", "CN", 80, "F"]]), "none of them has a folder"),
        (lambda place: place.labels.unlink(), "labels.tsv"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(place, change, said):
    change(place)
    with pytest.raises(InputError, match=said):
        place.ingest()


def test_a_wrong_image_is_a_row_and_not_a_crash(place):
    place.image("sub-02", "ses-M012").write_bytes(b"no image")
    place.ingest()
    exclusions = read_table(place.folder / "exclusions.tsv")
    assert exclusions["scan_id"].tolist() == ["sub-02_ses-M012"] and len(place.scans) == 3


def test_a_fingerprint_changes_with_images_and_table_and_with_nothing_else(place):
    cohort = {"source": "caps", "path": str(place.caps), "participants_tsv": str(place.labels)}
    place.ingest()
    note_sources(cohort, place.folder, place.result.originals)
    prints = [fingerprint_local(cohort, place.folder)]

    def changed():
        prints.append(fingerprint_local(cohort, place.folder))
        return prints[-1] not in prints[:-1]

    (place.caps / "subjects/sub-01/ses-M000/pet_linear").mkdir()
    place.labels.touch()
    assert not changed()
    place.table([*LABELS[:-1], ["sub-02", "ses-M000", "AD", 81, "F"]])
    assert changed()
    place.image("sub-04", "ses-M000")
    assert changed()
    assert fingerprint_caps(place.caps) != prints[-1], "without the table"


def test_the_configuration_knows_the_variables_and_that_the_images_are_in_mni_space(place):
    given = {"source": "caps", "path": str(place.caps), "participants_tsv": str(place.labels)}
    cohort = Cohort.model_validate(given).as_dict()
    assert cohort["mni_space"] and not cohort["skull_stripped"]
    assert not Cohort.model_validate(given | {"mni_space": False}).mni_space
    assert not Cohort.model_validate(given | {"source": "bids"}).mni_space
    survey = survey_of_cohort(cohort)
    assert survey.kinds["age"] and survey.kinds["diagnosis"] and len(survey.rows) == 3


def test_a_cropped_head_is_preprocessed_where_it_is(tmp_path):
    people = pd.DataFrame({"participant_id": ["sub-01"], "session_id": ["ses-M000"], "age": [70.0], "sex": ["F"]})
    write_caps(tmp_path / "caps", people, spacing_mm=4.0, native_mm=4.0)
    make_template(tmp_path / "template.npz", 4.0, (40, 48, 40))
    template = read_template(tmp_path / "template.npz")
    (path,) = tmp_path.glob(f"caps/subjects/*/*/*/*Sym{CROP}_res-1x1x1_T1w.nii.gz")
    result = preprocess_scan(ScanImages(path), template, Settings(seed=1, mni_space=True, intensity="percentile"))
    metrics = result.metrics
    assert metrics["template_dice"] > 0.85 and metrics["template_shift_mm"] < 5 and metrics["missing_brain"] < 0.02
