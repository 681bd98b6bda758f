"""Structures with names: which label maps are taken, what they become, and which configurations are refused."""

import csv

import nibabel as nib
import numpy as np
import pytest
from configurations import changed, refusal, study
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.sources.bids import ingest_bids
from neurocohort.sources.fingerprints import fingerprint_bids
from neurocohort.sources.label_tables import labels_of_bids
from neurocohort.sources.table import ingest_table
from neurocohort.structures import TISSUES, mirrored_labels, one_sided, structures_of
from neurocohort.study.configuration import check_configuration
from neurocohort.study.members import all_experiments, training_settings
from neurocohort.study.structures import structures_to_ingest, structures_to_learn

STRUCTURES = {"lesion": [1, 4], "hippocampus_left": [17], "hippocampus_right": [53]}
SHAPE = (6, 7, 8)
SEGMENTATION = {"task": "segmentation", "target": "dseg", "network": {"name": "unet"}}


def save(path, voxels, spacing=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([spacing, 1.0, 1.0, 1.0])), path)


def labels_of(*values):
    """A label map with a few voxels of each value."""
    labels = np.zeros(SHAPE, dtype=np.int16)
    for place, value in enumerate(values):
        labels[place, :2, :2] = value
    return labels


@pytest.fixture
def place(tmp_path):
    class Place:
        source = tmp_path / "study"
        folder = tmp_path / "data" / "mine"
        table = tmp_path / "study" / "scans.csv"

        def put(self, *maps, spacing=1.0):
            """Scans with these label maps, as a table."""
            rows = []
            for number, voxels in enumerate(maps):
                save(
                    self.source / f"t1_{number}.nii.gz", np.random.default_rng(number).normal(size=SHAPE).astype("<f4")
                )
                save(self.source / f"labels_{number}.nii.gz", voxels, spacing)
                rows.append([f"A{number}", f"t1_{number}.nii.gz", f"labels_{number}.nii.gz"])
            with self.table.open("w", newline="") as stream:
                csv.writer(stream).writerows([["participant_id", "path", "path_dseg"], *rows])

        def bids(self, *participants, values=(17, 53)):
            """A BIDS folder with an image and a label map of each participant."""
            for name in participants:
                stem = self.source / f"sub-{name}" / "anat" / f"sub-{name}"
                save(stem.with_name(f"{stem.name}_T1w.nii.gz"), np.ones(SHAPE, dtype="<f4"))
                save(stem.with_name(f"{stem.name}_dseg.nii.gz"), labels_of(*values))

        def name(self, path, *rows):
            (self.source / path).parent.mkdir(parents=True, exist_ok=True)
            (self.source / path).write_text(
                "".join(f"{'	'.join(map(str, row))}\n" for row in [("index", "name"), *rows])
            )

        def ingest(self, structures=STRUCTURES):
            """Ingest the table; the notes in one text, and the label map of the first scan."""
            done = ingest_table(self.table, self.folder, structures=structures)
            self.notes = " ".join(done.notes)
            self.excluded = read_table(self.folder / "exclusions.tsv")["reason"].tolist()
            return self

        def arrived(self, scan="sub-A0_ses-1"):
            row = read_table(self.folder / "scans.tsv").set_index("scan_id").loc[scan]
            return self.folder / row["dseg_path"]

    return Place()


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("hippocampus_left", "hippocampus_right"),
        ("left_hippocampus", "right_hippocampus"),
        ("hippocampus_L", "hippocampus_R"),
        ("Left-Hippocampus", "Right-Hippocampus"),
        ("ctx-lh-insula", "ctx-rh-insula"),
    ],
)
def test_left_and_right_are_exchanged_in_a_mirror_image(left, right):
    assert mirrored_labels(("lesion", left, "stem", right)) == (0, 1, 4, 3, 2)
    assert one_sided(("lesion", left, "stem", right)) == []
    assert one_sided((left, "stem")) == [left] and one_sided((right,)) == [right]


def test_names_without_a_side_keep_their_labels():
    assert mirrored_labels(TISSUES) == (0, 1, 2, 3)
    names = ("lesion", "R", "left", "brightness", "left_right_commissure")
    assert mirrored_labels(names) == (0, 1, 2, 3, 4, 5) and one_sided(names) == []


# --- label maps -----------------------------------------------------------------------------------------------------


def test_values_become_labels_in_the_order_of_the_names(place):
    place.put(labels_of(17, 1, 53, 4, 9), labels_of(53, 17), labels_of(9))
    place.ingest()
    arrived = nib.load(place.arrived())
    np.testing.assert_array_equal(np.asarray(arrived.dataobj)[:5, 0, 0], [2, 1, 3, 1, 0])
    assert arrived.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(arrived.affine, np.eye(4))
    names = read_table(place.folder / "derivatives/segmentations/dseg.tsv")
    assert dict(zip(names["index"], names["name"], strict=True)) == dict(enumerate(STRUCTURES, start=1))
    assert "2 of the 3 label maps don't have lesion" in place.notes
    assert "1 of the 3 label maps don't have hippocampus_left" in place.notes
    assert "1 value(s) of the label maps belong to no structure and became background: 9 (2 maps)." in place.notes


def test_a_structure_that_no_label_map_has_is_questioned(place):
    place.put(labels_of(17), labels_of(17, 53))
    assert "None of the 2 label maps has lesion (value 1, 4); is that its value?" in place.ingest().notes


def test_a_second_ingest_leaves_the_label_map_alone(place):
    place.put(labels_of(17, 1, 53))
    first = place.ingest().arrived().stat().st_mtime_ns
    assert place.ingest().arrived().stat().st_mtime_ns == first


def test_values_that_are_not_whole_and_other_grids_are_refused(place):
    place.put(labels_of(17), labels_of(17) * 0.1, labels_of(17)[:5])
    place.ingest()
    assert len(place.excluded) == 2
    assert "it has the value 1.7; expected whole numbers" in place.excluded[0]
    assert "it has 5 x 7 x 8 voxels, and its image 6 x 7 x 8" in place.excluded[1]
    place.put(labels_of(17), spacing=1.1)
    with pytest.raises(InputError, match="expected the image's affine"):
        place.ingest()


def test_without_names_other_values_are_refused_with_the_key_to_set(place):
    place.put(labels_of(17))
    with pytest.raises(InputError, match="Name other structures with their values under the cohort's `labels`"):
        place.ingest({})


# --- the table of a BIDS folder -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["dseg.tsv", "sub-01/anat/sub-01_dseg.tsv"])
def test_a_bids_table_names_the_structures(place, path):
    place.bids("01")
    place.name(path, (0, "Background"), (53, "Right Hippocampus"), (17, "Left Hippocampus"))
    found = labels_of_bids(place.source, "*_T1w.nii*")
    assert found == {"Right_Hippocampus": [53], "Left_Hippocampus": [17]}
    assert [*found] == ["Right_Hippocampus", "Left_Hippocampus"]
    ingest_bids(place.source, place.folder, structures=found)
    arrived = nib.load(place.folder / "derivatives/segmentations/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz")
    np.testing.assert_array_equal(np.asarray(arrived.dataobj)[:3, 0, 0], [2, 1, 0])


def test_a_table_of_other_label_maps_is_not_taken(place):
    place.bids("01")
    place.name("desc-aseg_dseg.tsv", (17, "Left-Hippocampus"))
    assert labels_of_bids(place.source, "*_T1w.nii*") is None


def test_a_table_of_the_tissues_changes_nothing(place):
    place.bids("01")
    for names in (TISSUES, ("Cerebrospinal Fluid", "Gray Matter", "White Matter")):
        place.name("dseg.tsv", *enumerate(names, start=1))
        assert labels_of_bids(place.source, "*_T1w.nii*") is None
    place.name("dseg.tsv", (1, "GM"), (2, "WM"), (3, "CSF"))  # fMRIPrep's order
    assert labels_of_bids(place.source, "*_T1w.nii*") == {"GM": [1], "WM": [2], "CSF": [3]}


def test_a_wrong_table_is_refused_by_row(place):
    place.bids("01")
    for row, message in (
        ((1.5, "a"), "row 3: index is 1.5; expected a whole number"),
        ((4, "7th nerve"), "row 3: name is 7th nerve; expected a name that begins with a letter"),
        ((17, "b"), "row 3: index 17 occurs twice"),
    ):
        place.name("dseg.tsv", (17, "x"), row)
        with pytest.raises(InputError, match=message):
            labels_of_bids(place.source, "*_T1w.nii*")
    place.name("dseg.tsv", *((number, f"r{number}") for number in range(1, 257)))
    with pytest.raises(InputError, match="names 256 structures, and a label map can have 255"):
        labels_of_bids(place.source, "*_T1w.nii*")


def test_a_label_map_whose_own_table_has_another_value_is_excluded(place):
    place.bids("01", "02")
    place.name("sub-02/anat/sub-02_dseg.tsv", (54, "hippocampus_right"), (17, "hippocampus_left"))
    before = fingerprint_bids(place.source)
    ingest_bids(place.source, place.folder, structures=STRUCTURES)
    (reason,) = read_table(place.folder / "exclusions.tsv")["reason"]
    assert "sub-02_dseg.tsv gives hippocampus_right the value 54, and the cohort's is 53" in reason
    place.name("sub-02/anat/sub-02_dseg.tsv", (53, "hippocampus_right"))
    assert fingerprint_bids(place.source) != before
    ingest_bids(place.source, place.folder, structures=STRUCTURES)
    assert read_table(place.folder / "exclusions.tsv").empty


# --- the configuration ----------------------------------------------------------------------------------------------


@pytest.fixture
def two_cohorts(place):
    place.put(*(labels_of(17, 53) for _ in range(12)))
    cohort = {"source": "table", "path": str(place.table), "labels": {"b_left": 53, "b_right": 17, "a": [1, 4]}}
    config = study(cohort, **SEGMENTATION)
    return changed(changed(config, "cohorts.other", {**cohort, "labels": {"b_left": 1, "b_right": 2, "a": 3}}),
                   "experiments.e.external", ["other"])  # fmt: skip


def test_the_order_of_the_names_reaches_ingest_and_training(two_cohorts):
    config = check_configuration(two_cohorts, source="study.yaml")
    own = config["cohorts"]["own"]
    assert structures_of(own) == ("b_left", "b_right", "a")
    assert structures_to_ingest(own)[2] == {"name": "a", "values": [1, 4]}
    experiment = all_experiments(config["experiments"])["e"]
    structures = structures_to_learn(experiment, config["cohorts"])
    assert structures == ["b_left", "b_right", "a"]
    assert training_settings(experiment, "seed-1", structures=structures).as_dict()["structures"] == structures


def test_cohorts_without_names_leave_the_settings_as_they_were(two_cohorts):
    config = two_cohorts
    for name in ("own", "other"):
        config["cohorts"][name].pop("labels")
    config = check_configuration(config, source="study.yaml")
    experiment = all_experiments(config["experiments"])["e"]
    assert structures_to_ingest(config["cohorts"]["own"]) is None
    assert structures_to_learn(experiment, config["cohorts"]) is None
    assert "structures" not in training_settings(experiment, "seed-1").as_dict()


def test_a_bids_cohort_gets_the_names_of_its_table(place):
    place.bids(*(f"{number:02d}" for number in range(12)))
    place.name("dseg.tsv", (53, "Right"), (17, "Left"))
    config = check_configuration(study({"source": "bids", "path": str(place.source)}, **SEGMENTATION), source="x")
    assert config["cohorts"]["own"]["labels"] == {"Right": [53], "Left": [17]}
    place.name("dseg.tsv", ("x", "Right"))
    found = refusal(study({"source": "bids", "path": str(place.source)}, **SEGMENTATION))
    assert "`cohorts.own.labels`" in found and "index is x; expected a whole number" in found


def test_a_recipe_counts_the_names_of_a_bids_table(place):
    place.bids(*(f"{number:02d}" for number in range(12)))
    found = []
    for count in (3, 95):
        place.name("dseg.tsv", *((number, f"structure_{number}") for number in range(1, count + 1)))
        wanted = study(
            {"source": "bids", "path": str(place.source)},
            **SEGMENTATION | {"recipe": "nnunet_m", "network": {"name": "resencunet"}},
        )
        wanted["preprocessing"] = {"spacing_mm": 2.0, "shape": [96, 96, 80]}
        training = check_configuration(wanted, source="x")["experiments"]["e"]["training"]
        found.append(training["batch_size"])
    assert found[0] > found[1]


def test_cohorts_with_other_names_are_refused_with_both_lists(two_cohorts):
    config = changed(two_cohorts, "cohorts.other.labels", {"b_right": 1, "b_left": 2, "a": 3})
    found = refusal(config)
    assert "`own` with the structures b_left, b_right, a and `other` with b_right, b_left, a" in found


def test_a_single_side_is_refused_where_images_are_mirrored(two_cohorts):
    config = two_cohorts
    for name in ("own", "other"):
        config["cohorts"][name]["labels"] = {"b_left": 1, "a": 2}
    assert "write `experiments.e.training.augmentation.flip: false`" in refusal(config)
    config = changed(config, "experiments.e.training", {"augmentation": {"flip": False}})
    check_configuration(config, source="study.yaml")
    config["experiments"]["e"]["training"]["mirror_averaging"] = True
    assert "write `experiments.e.training.mirror_averaging: false`" in refusal(config)


def test_lesions_must_be_structures_of_a_segmentation(two_cohorts):
    check_configuration(changed(two_cohorts, "experiments.e.lesions", ["a"]), source="study.yaml")
    found = refusal(changed(two_cohorts, "experiments.e.lesions", ["c"]))
    assert "`experiments.e.lesions` has c; the structures of `own` are b_left, b_right, a" in found
    other = {"task": "regression", "target": "age", "network": {"name": "sfcn"}, "cohorts": ["own"], "lesions": ["a"]}
    assert "`experiments.f.lesions` is only for segmentation" in refusal(changed(two_cohorts, "experiments.f", other))


def test_impossible_labels_are_refused(two_cohorts):
    for labels, message in (
        ({"a": 0}, "`cohorts.own.labels.a` is 0; expected a whole number from 1"),
        ({"a b": 1}, "`cohorts.own.labels` has the key `a b`"),
        ({"a": 1, "b": [2, 1]}, "gives the value 1 to a and to b"),
    ):
        assert message in refusal(changed(two_cohorts, "cohorts.own.labels", labels))
