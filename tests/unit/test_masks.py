"""Structures with a mask of their own, such as lesions: drawn over the label map, and never background where nobody drew them."""

import csv

import nibabel as nib
import numpy as np
import pytest
from configurations import refusal, study
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.sources.bids import ingest_bids
from neurocohort.sources.bids_plan import plan_bids
from neurocohort.sources.fingerprints import fingerprint_local
from neurocohort.sources.table import ingest_table
from neurocohort.sources.variable_kinds import LABEL_MAP
from neurocohort.structures import structures_of
from neurocohort.study.cohorts import survey_of_cohort
from neurocohort.study.configuration import check_configuration
from neurocohort.study.structures import structures_to_learn

SHAPE = (6, 7, 8)
LABELS = {"hippocampus": [17]}
BIDS_MASKS = {"lesion": "label-lesion_mask", "tumour": "label-tumour_mask"}
TABLE_MASKS = {"lesion": "path_lesion"}


def save(path, voxels, spacing=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([spacing, 1.0, 1.0, 1.0])), path)


def block(first, last, value):
    voxels = np.zeros(SHAPE, dtype=np.int16)
    voxels[first:last] = value
    return voxels


@pytest.fixture
def place(tmp_path):
    class Place:
        source = tmp_path / "study"
        folder = tmp_path / "data" / "mine"
        table = tmp_path / "study" / "scans.csv"

        def scan(self, name, **maps):
            """A scan in a BIDS folder, with maps by the end of their names."""
            anat = self.source / f"sub-{name}" / "anat"
            save(anat / f"sub-{name}_T1w.nii.gz", np.ones(SHAPE, dtype="<f4"))
            for ending, voxels in maps.items():
                save(anat / f"sub-{name}_{ending.replace('__', '-')}.nii.gz", voxels)

        def ingest(self, structures=LABELS, masks=BIDS_MASKS):
            self._read(ingest_bids(self.source, self.folder, structures=structures, masks=masks))
            return self

        def ingest_table(self, *rows, structures=None, masks=TABLE_MASKS):
            self.write(*rows)
            self._read(ingest_table(self.table, self.folder, structures=structures, masks=masks))
            return self

        def write(self, *rows):
            self.source.mkdir(exist_ok=True)
            with self.table.open("w", newline="") as stream:
                csv.writer(stream).writerows([["participant_id", "path", "path_dseg", "path_lesion"], *rows])

        def _read(self, done):
            self.notes = " ".join(done.notes)
            self.scans = read_table(self.folder / "scans.tsv").set_index("scan_id")
            self.excluded = " ".join(read_table(self.folder / "exclusions.tsv")["reason"])

        def labels(self, scan="sub-01_ses-1"):
            return np.asarray(nib.load(self.folder / self.scans.loc[scan, "dseg_path"]).dataobj)[:, 0, 0].tolist()

    return Place()


def test_masks_are_drawn_over_the_label_map_in_their_order(place):
    maps = {"dseg": block(0, 3, 17), "label__lesion_mask": block(2, 5, 255), "label__tumour_mask": block(4, 6, 1)}
    place.scan("01", **maps)
    place.ingest()
    assert place.labels() == [1, 1, 2, 2, 3, 3]
    names = read_table(place.folder / "derivatives/segmentations/dseg.tsv")
    assert names["name"].tolist() == ["hippocampus", "lesion", "tumour"]
    assert place.scans.loc["sub-01_ses-1", "path"] != place.scans.loc["sub-01_ses-1", "dseg_path"]


def test_a_scan_without_one_of_the_maps_has_no_reference_and_is_noted(place):
    empty = block(0, 0, 1)
    place.scan("01", dseg=block(0, 3, 17), label__lesion_mask=empty, label__tumour_mask=empty)
    place.scan("02", dseg=block(0, 3, 17), label__lesion_mask=block(1, 2, 1))
    place.scan("03", label__lesion_mask=empty, label__tumour_mask=empty)
    place.scan("04")
    place.ingest()
    assert place.scans["dseg_path"].notna().tolist() == [True, False, False, False]
    assert place.labels() == [1, 1, 1, 0, 0, 0]
    assert "2 scan(s) lack some of the label map, label-lesion_mask, label-tumour_mask" in place.notes
    assert "needs an empty mask" in place.notes
    assert "None of the 1 label maps has lesion (label-lesion_mask); is that its mask?" in place.notes


def test_masks_alone_need_no_label_map_and_leave_one_out(place):
    place.scan("01", dseg=block(0, 6, 3), label__lesion_mask=block(1, 2, 1))
    place.ingest(structures=None, masks={"lesion": "label-lesion_mask"})
    assert place.labels() == [0, 1, 0, 0, 0, 0]


def test_a_table_names_the_masks_in_a_column(place):
    save(place.source / "t1.nii.gz", np.ones(SHAPE, dtype="<f4"))
    save(place.source / "lesion.nii.gz", block(1, 2, 1))
    save(place.source / "dseg.nii.gz", block(0, 2, 17))
    place.ingest_table(["01", "t1.nii.gz", "dseg.nii.gz", "lesion.nii.gz"], structures=LABELS)
    assert place.labels() == [1, 2, 0, 0, 0, 0]
    assert "path_lesion" not in place.scans


@pytest.mark.parametrize(
    ("voxels", "spacing", "words"),
    [
        (block(1, 2, 1) + block(3, 4, 2), 1.0, "lesion.nii.gz has the values 0, 1, 2; expected a mask"),
        (block(1, 2, 1) * -1, 1.0, "has the values -1, 0; expected a mask"),
        (block(1, 2, 1) * np.float32(0.4), 1.0, "lesion.nii.gz: it has the value 0.4"),
        (block(1, 2, 1), 2.0, "lesion.nii.gz: its affine puts voxels"),
    ],
)
def test_what_is_no_mask_of_the_image_excludes_the_scan(place, voxels, spacing, words):
    for name in ("t1", "u1"):
        save(place.source / f"{name}.nii.gz", np.ones(SHAPE, dtype="<f4"))
    save(place.source / "lesion.nii.gz", voxels, spacing)
    save(place.source / "good.nii.gz", block(1, 2, 1))
    place.ingest_table(["01", "t1.nii.gz", "", "lesion.nii.gz"], ["02", "u1.nii.gz", "", "good.nii.gz"])
    assert words in place.excluded and len(place.scans) == 1


def test_a_column_that_the_table_lacks_is_named(place):
    place.write(["01", "t1.nii.gz", "", ""])
    with pytest.raises(InputError, match="lacks the column path_wmh, which `masks` names for lesion"):
        ingest_table(place.table, place.folder, masks={"lesion": "path_wmh"})


def test_a_column_without_paths_is_refused(place):
    save(place.source / "t1.nii.gz", np.ones(SHAPE, dtype="<f4"))
    place.write(["01", "t1.nii.gz", "", "44"])
    with pytest.raises(
        InputError, match=r"1 cell.s. in the column path_lesion, .* none is the path of a file that is there"
    ):
        ingest_table(place.table, place.folder, masks=TABLE_MASKS)


def test_masks_are_never_taken_for_images_of_the_head(place):
    place.scan("01", label__lesion_mask=block(1, 2, 1), desc__brain_mask=block(0, 6, 1))
    plan = plan_bids(place.source, pattern="*.nii.gz", run="all")
    assert [scan.images["T1w"].name for scan in plan.scans] == ["sub-01_T1w.nii.gz"]


def test_another_mask_is_another_input(place):
    place.write(["01", "t1.nii.gz", "", "lesion.nii.gz"])
    cohort = {"source": "table", "path": str(place.table), "masks": TABLE_MASKS}
    found = set()
    for voxels in (block(1, 2, 1), block(1, 3, 1)):
        save(place.source / "lesion.nii.gz", voxels)
        found.add(fingerprint_local(cohort, place.folder))
    assert len(found) == 2


SEGMENTATION = {"task": "segmentation", "target": "dseg", "network": {"name": "unet"}, "lesions": ["lesion"]}


def test_the_study_knows_the_masks_of_its_cohort(place):
    maps = {"dseg": block(0, 3, 17), "label__lesion_mask": block(2, 5, 1)}
    for name in ("01", "02", "03", "04"):
        place.scan(name, **maps)
    cohort = {"source": "bids", "path": str(place.source), "labels": {"hippocampus": 17}}
    cohort["masks"] = {"lesion": "label-lesion_mask"}
    config = check_configuration(study(cohort, **SEGMENTATION), source="study.yaml")
    (name,) = config["cohorts"]
    assert structures_of(config["cohorts"][name]) == ("hippocampus", "lesion")
    (experiment,) = config["experiments"].values()
    assert structures_to_learn(experiment, config["cohorts"]) == ["hippocampus", "lesion"]
    assert survey_of_cohort(config["cohorts"][name]).kinds["dseg"] == LABEL_MAP
    cohort["masks"] |= {"hippocampus": "label-lesion_mask"}
    message = refusal(study(cohort, **SEGMENTATION))
    assert "hippocampus under `labels` and under `masks`" in message
    assert "gives label-lesion_mask to lesion, hippocampus" in message
