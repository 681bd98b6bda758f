"""Importance of atlas regions: it is found where a network looks, and random networks show what size alone gives."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from configurations import refusal
from neurocohort.errors import InputError
from neurocohort.evaluation.intervals import Bootstrap, simultaneous_band
from neurocohort.evaluation.regions import Hidden, Networks, Region, importance
from neurocohort.imaging.atlas import read_atlas, template_blocks
from neurocohort.imaging.template import Template
from neurocohort.imaging.volume import Volume
from neurocohort.learning.data import Intensity, PackedImages
from neurocohort.learning.model_files import Model
from neurocohort.learning.regions import (
    answers,
    answers_of_members,
    hidden_regions,
    mean_image,
    random_network,
    scans_to_test,
)
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Regression
from neurocohort.study.configuration import check_configuration, load_configuration
from torch import nn

SHAPE, SPACING_MM = (24, 20, 24), 6.0
VALUE = Regression(False, 20.0, 90.0, 55.0, 20.0)
PEOPLE, REGIONS = 20, 6
QUICK = Bootstrap(500, 1)


class Looking(nn.Module):
    """Its output is the mean of the lower half along x alone."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.gain * images[:, 0, :12].mean(dim=(1, 2, 3))[:, None]


@pytest.fixture
def labels() -> np.ndarray:
    found = np.zeros(SHAPE, dtype=np.int32)
    found[2:12, 2:18, 2:22], found[12:22, 2:18, 2:22] = 1, 2
    return found


@pytest.fixture
def samples() -> pd.DataFrame:
    parts = ["train"] * 3 + ["validation"] + ["held-out"] * 4
    table = pd.DataFrame({"cohort": "mine", "pack": "all", "scan_id": [f"s{n}" for n in range(8)], "row": range(8)})
    return table.assign(participant_id=table["scan_id"], part=parts, target=50.0)


@pytest.fixture
def packed(labels) -> PackedImages:
    images = np.random.default_rng(0).integers(150, 250, (8, 1, *SHAPE)).astype(np.uint8) * (labels > 0)
    return PackedImages(
        {("mine", "all"): images}, {("mine", "all"): np.zeros((8, *SHAPE), np.uint8)}, {("mine", "all"): [0]}
    )


@pytest.fixture
def model() -> Model:
    settings = TrainingSettings(
        task="regression", network="sfcn", soft_bins=False, channels=[2, 2, 2], epochs=1, batch_size=1
    )
    return Model(Looking(), VALUE, settings, Intensity([200.0], [30.0]), torch.device("cpu"))


def test_only_the_region_in_which_the_network_looks_changes_its_prediction(model, labels, samples, packed):
    regions = hidden_regions(labels, [1, 2], SPACING_MM)
    scans = scans_to_test(samples, 100, 1)
    assert list(scans["scan_id"]) == ["s4", "s5", "s6", "s7"], "held-out scans alone"
    found = answers_of_members([("seed-1", model)], scans, samples, packed, regions, 1)["seed-1"]
    change = np.abs(found[1][..., 0] - found[0]).mean(axis=0)
    assert found[0].shape == (4, 1) and found[1].shape == (4, 2, 1)
    assert change[0] > 10 * change[1], "the smooth edge of the other region reaches a little across the border"
    again = answers_of_members([("seed-1", model)], scans, samples, packed, regions, 1)["seed-1"]
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True)), "the same bits"


def test_the_mean_image_is_of_the_training_part_alone(model, labels, samples, packed):
    fill = mean_image(model, samples, packed, 1)
    images = packed.images["mine", "all"][:3].astype(float)
    assert np.allclose(fill[0][labels > 0], images.mean(axis=0)[0][labels > 0])
    assert np.all(fill[0][labels == 0] == 200.0), "outside of every brain"


def test_voxels_outside_the_brain_of_a_scan_are_never_replaced(model, labels, samples, packed):
    packed.images["mine", "all"][4, 0, 2:12] = 0
    scans = scans_to_test(samples, 100, 1).head(1)
    plain, hidden = answers(
        model, scans, packed, np.full((1, *SHAPE), 90.0, np.float32), hidden_regions(labels, [1], SPACING_MM), "x"
    )
    assert hidden[0, 0, 0] == plain[0, 0]


def test_random_networks_differ_by_their_seed_alone(model):
    states = [random_network(model, seed).network.state_dict() for seed in (1, 1, 2)]
    same = [all(torch.equal(states[0][key], other[key]) for key in other) for other in states[1:]]
    assert same == [True, False]


def made(important: int | None, seed: int, people: int = PEOPLE) -> Hidden:
    """A network whose prediction depends on one region; the last region is large, and changes every network's prediction."""
    generator = np.random.default_rng(seed)
    plain = generator.normal(50, 10, (people, 1))
    sizes = np.full((people, REGIONS, 1), 1.0)
    sizes[:, -1] = 5.0
    if important is not None:
        sizes[:, important] = 6.0
    return Hidden(plain, plain[:, None] + sizes * generator.normal(1, 0.2, sizes.shape))


def found(trained: list[Hidden], permuted: list[Hidden] | None = None, people: int = PEOPLE, task: str = "regression"):
    def named(many: list[Hidden]) -> dict:
        return {str(number): one for number, one in enumerate(many)}

    scans = pd.DataFrame({"participant_id": [f"p{n}" for n in range(people)], "target": trained[0].plain[:, 0] + 1})
    random = [made(None, 100 + number, people) for number in range(5)]
    regions = [Region(number, f"region {number}", 50, 10.0, True) for number in range(1, REGIONS + 1)]
    regions.append(Region(REGIONS + 1, "tiny", 3, 0.6, False))
    return importance(Networks(named(trained), named(random), named(permuted or [])), scans, regions, task, QUICK, 20)


def test_the_important_region_exceeds_random_networks_and_the_large_one_does_not():
    result = found([made(1, 1), made(1, 2), made(1, 3)], [made(None, 9)])
    above = result.table[result.table["minus_random_low"] > 0]
    assert list(above["name"]) == ["region 2"]
    assert list(result.table[result.table["minus_permuted_low"] > 0]["name"]) == ["region 2"]
    assert result.table["share"].sum() == pytest.approx(1, abs=1e-5)
    large = result.table.iloc[REGIONS - 1]
    assert large["share"] > 2 * result.table.iloc[0]["share"] and large["minus_random"] < 0
    tiny = result.table.iloc[-1]
    assert np.isnan(tiny["share"]) and tiny["note"] == "Not evaluated: fewer than 20 voxels on the study's grid."
    assert result.members.pairs == 3 and 0 < result.members.low <= result.members.value <= result.members.high <= 1


def test_networks_that_learned_nothing_show_no_region():
    result = found([made(None, 1)])
    assert not (result.table["minus_random_low"] > 0).any()
    assert result.members.value is None and result.random.value is not None, "a single network agrees with nobody"
    assert result.table["permuted_share"].isna().all()


def test_two_people_have_no_intervals():
    result = found([made(1, 1, 2)], people=2)
    assert result.table["share"].notna().sum() == REGIONS and result.table["share_low"].isna().all()
    assert result.table["note"].iloc[0].startswith("Fewer than three participants")


def test_probabilities_have_the_logarithmic_loss():
    plain = np.tile([[0.2, 0.8]], (PEOPLE, 1))
    hidden = np.tile(plain[:, None], (1, REGIONS, 1))
    hidden[:, 1] = [0.6, 0.4]
    scans = pd.DataFrame({"participant_id": range(PEOPLE), "target": 1.0})
    one = {"a": Hidden(plain, hidden)}
    regions = [Region(number, str(number), 50, 10.0, True) for number in range(1, REGIONS + 1)]
    table = importance(Networks(one, one | {"b": one["a"]}, {}), scans, regions, "classification", QUICK, 20).table
    assert table["change"].tolist() == pytest.approx([0, 0.4, 0, 0, 0, 0])
    assert table["error_change"].iloc[1] == pytest.approx(np.log(2), abs=1e-5)


def test_members_of_a_test_fold_answer_for_their_own_scans(model, labels, samples, packed):
    folded = samples.assign(test_fold=[1, 1, 1, 2, 2, 2, 1, 2], part="train")
    second = Model(
        model.network, VALUE, model.settings.model_copy(update={"test_fold": 2}), model.intensity, model.device
    )
    first = Model(
        model.network, VALUE, model.settings.model_copy(update={"test_fold": 1}), model.intensity, model.device
    )
    scans = scans_to_test(folded, 100, 1)
    regions = hidden_regions(labels, [1, 2], SPACING_MM)
    both = answers_of_members([("one", first), ("two", second)], scans, folded, packed, regions, 1)
    own = {name: np.isfinite(values[0][:, 0]).tolist() for name, values in both.items()}
    assert own["one"] == [number == 1 for number in folded["test_fold"]]
    assert own["two"] == [not here for here in own["one"]]


def test_simultaneous_intervals_hold_all_points_together():
    generator, inside = np.random.default_rng(1), 0
    for _ in range(200):
        sample = generator.normal(size=(30, 10))
        drawn = sample[generator.integers(0, 30, (400, 30))].mean(axis=1)
        low, high = simultaneous_band(drawn, sample.mean(axis=0), 30)
        inside += bool(((low <= 0) & (high >= 0)).all())
    assert inside >= 180, "about 95 %; pointwise intervals would hold all ten in about 60 %"


@pytest.fixture
def template() -> Template:
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = [-69.0, -78.0, -60.0]
    shape = (24, 28, 24)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    radius = np.sqrt((places**2).sum(axis=0))
    mask = radius < 0.9
    tissues = np.stack(
        [(radius < 0.25) | (radius > 0.8), (radius >= 0.5) & (radius <= 0.8), (radius >= 0.25) & (radius < 0.5)]
    )
    brain = Volume(mask.astype(np.float32), affine)
    return Template(brain, mask, brain, mask, (tissues * mask).astype(np.float32))


def test_blocks_cover_the_brain_and_are_mirror_images(template):
    atlas = template_blocks(template)
    assert np.array_equal(atlas.labels > 0, template.mask)
    left, right = (
        next(n for n, name in atlas.names.items() if name == f"deep CSF, {side}") for side in ("left", "right")
    )
    assert np.array_equal((atlas.labels == left)[::-1], atlas.labels == right) and (atlas.labels == left).any()


def write_atlas(folder, data: np.ndarray, affine: np.ndarray, table: str = "index\tname\n1\tfirst\n2\tsecond\n"):
    path = folder / "mine_dseg.nii.gz"
    nib.save(nib.Nifti1Image(data.astype(np.uint8), affine), path)
    if table:
        (folder / "mine_dseg.tsv").write_text(table)
    return path


def test_a_given_atlas_is_brought_to_the_grid_of_the_study(template, tmp_path):
    data = np.zeros(template.grid.shape)
    data[8:12, 8:20, 8:16], data[12:16, 8:20, 8:16] = 1, 2
    atlas = read_atlas(write_atlas(tmp_path, data, template.grid.affine), template)
    assert atlas.names == {1: "first", 2: "second"} and np.array_equal(atlas.labels, data * template.mask)


@pytest.mark.parametrize(
    ("shift", "table", "message"),
    [(0, "", "is absent; expected a table"), (0, "index\tname\n7\tother\n", "no voxel on the study's grid"),
     (78, "index\tname\n1\tfirst\n", "inside the template's brain")],
)  # fmt: skip
def test_an_atlas_that_does_not_fit_is_refused(template, tmp_path, shift, table, message):
    data, affine = np.zeros(template.grid.shape), template.grid.affine.copy()
    data[8:12, 8:20, 8:16] = 1
    affine[0, 3] += shift
    with pytest.raises(InputError, match=message):
        read_atlas(write_atlas(tmp_path, data, affine, table), template)


def configured(repository, regions: dict, **changes) -> dict:
    config = load_configuration([repository / "config" / "config.yaml"])
    config["saliency"] = {"regions": regions}
    for key, value in changes.items():
        config[key] |= value
    return config


def test_regions_are_off_unless_asked_for_and_have_defaults(repository):
    plain = check_configuration(load_configuration([repository / "config" / "config.yaml"]), source="config.yaml")
    assert "regions" not in plain["saliency"]
    checked = check_configuration(configured(repository, {}), source="config.yaml")
    assert checked["saliency"]["regions"] == {"scans": 100, "random_networks": 5, "min_voxels": 20}


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({"atlas": "atlas.img"}, "expected a label map whose name ends with .nii or .nii.gz"),
        ({"atlas": "nowhere/atlas.nii.gz"}, "absent: nowhere/atlas.nii.gz, nowhere/atlas.tsv"),
        ({"random_networks": 1}, "random_networks"),
    ],
)
def test_settings_that_do_not_fit_are_refused(repository, regions, message):
    assert message in refusal(configured(repository, regions))


def test_segmentations_alone_have_no_regions(repository):
    config = configured(repository, {})
    config["experiments"] = {name: one for name, one in config["experiments"].items() if one["task"] == "segmentation"}
    assert "no experiment is one of them" in refusal(config)
