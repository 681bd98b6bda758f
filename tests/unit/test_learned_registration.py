"""Registration by flow, network and refinement: right where the truth is known, the same twice, resumable, in the bundle."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from neurocohort.apply.one_scan import Options
from neurocohort.apply.predict import open_model
from neurocohort.errors import InputError
from neurocohort.imaging.batch import Batch, _tasks
from neurocohort.imaging.deformable import PointMap, check_deformation, sample_deformed
from neurocohort.imaging.learned import moving_image, register_learned
from neurocohort.imaging.learned_constants import needs_network
from neurocohort.imaging.optical_flow import flow_velocity
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.refinement import refined
from neurocohort.imaging.registration_network import predicted_velocity, registration_network, write_network
from neurocohort.imaging.template import Template, make_template, read_template
from neurocohort.imaging.velocity import displacement_of, frame_of, to_image_grid, warped
from neurocohort.imaging.volume import Grid, Volume, sample
from neurocohort.learning import registration_training
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.registration_pairs import anatomy_of, painted_pair
from neurocohort.learning.registration_training import rate_fraction, train_registration
from neurocohort.settings.scan import LearnedRegistration
from raw_scan_bundle import configuration, write_raw_scan_bundle, write_template
from test_scan_batches import SETTINGS

CPU = torch.device("cpu")
NO_NETWORK = LearnedRegistration(steps=0, refinement_steps=5)
AXES = np.array([[0, 0, 4.0], [-3.5, 0, 0], [0, -3.5, 0]])
TRAINED = LearnedRegistration(steps=6, learning_rate=0.01, seed=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 4.0, (44, 52, 44))
    return read_template(path)


@pytest.fixture(scope="module")
def template(whole):
    return coarser(whole, 4.0)


@pytest.fixture(scope="module")
def small(whole):
    """For trainings."""
    return coarser(whole, 8.0)


def coarser(whole, spacing_mm):
    """The template with registrations at this spacing instead of 2 mm."""
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = whole.fit.affine[:3, 3]
    grid = Grid(tuple(int(-(-side * 2 // spacing_mm)) for side in whole.fit.data.shape), affine)
    mask = sample(Volume(whole.fit_mask, whole.fit.affine), grid, smooth=True).data > 0.5
    return Template(sample(whole.fit, grid, smooth=True), mask, whole.brain, whole.mask, whole.tissues)


@pytest.fixture(scope="module")
def anatomy(template):
    return anatomy_of(template, CPU)


@pytest.fixture(scope="module")
def known(template, anatomy):
    """A scan on an oblique grid: the template under an affine and a diffeomorphism that is known."""
    to_scan = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.2, -0.15, 0.1) @ np.diag([1.05, 0.95, 1.0]), [12, -9, 15]
    )
    velocity = painted_pair(anatomy, 7, 1).velocity
    frame = anatomy.frame
    moves = [4.0 * to_image_grid(displacement_of(sign * velocity))[0].permute(1, 2, 3, 0).numpy() for sign in (1, -1)]
    forward = PointMap(np.eye(4), moves[0], frame.grid, to_scan)
    inverse = PointMap(np.linalg.inv(to_scan), moves[1], frame.grid, np.eye(4))
    affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.3) @ AXES)
    shape = (72, 64, 54)
    affine[:3, 3] = nib.affines.apply_affine(to_scan, [0, -18, 8.5]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Grid(shape, affine)
    brain = sample_deformed(template.fit, grid, inverse).data
    mask = sample_deformed(Volume(template.fit_mask, template.fit.affine), grid, inverse).data > 0.5
    noisy = 900 * brain + np.random.default_rng(2).normal(0, 15, shape)
    points = nib.affines.apply_affine(template.fit.affine, np.argwhere(template.fit_mask)[::17])
    return (Volume(noisy.astype(np.float32), affine), mask), to_scan, points, forward(points)


def registered(template, known, settings=NO_NETWORK, network=None):
    return register_learned((template.fit, template.fit_mask), known[0], known[1], settings, network)


def errors(known, found):
    """Mean distances in mm: after the affine, from template to scan, back, and there and back."""
    _, to_scan, points, truth = known
    between = (
        (nib.affines.apply_affine(to_scan, points), truth),
        (found.template_to_scan(points), truth),
        (found.scan_to_template(truth), points),
        (found.scan_to_template(found.template_to_scan(points)), points),
    )
    return [np.linalg.norm(one - other, axis=1).mean() for one, other in between]


# --- where the truth is known ---------------------------------------------------------------------------------------


def test_a_known_deformation_is_found_in_both_directions_without_a_network(template, known):
    found = registered(template, known)
    before, there, back, around = errors(known, found)
    assert before > 2.5 and there < 0.45 * before and back < 0.45 * before and around < 0.1
    assert found.mask_dice > found.affine_mask_dice and found.folded_fraction == 0
    check_deformation(found)


def test_equal_inputs_give_equal_bits(template, known):
    one, other = (registered(template, known) for _ in range(2))
    for name in ("template_to_scan", "scan_to_template"):
        first, second = (getattr(found, name).displacement for found in (one, other))
        assert first.tobytes() == second.tobytes()
        assert not first[0].any() and not first[:, -1].any() and np.abs(first).max() > 1


def test_a_brain_that_fits_already_stays(template):
    brain = template.fit, template.fit_mask
    same = register_learned(brain, brain, np.eye(4), NO_NETWORK, None)
    assert np.abs(same.template_to_scan.displacement).max() < 0.5
    check_deformation(same)


def test_contrast_and_brightness_hardly_matter(template, known):
    (image, mask), *rest = known
    other = Volume(50 + 3 * np.sqrt(np.clip(image.data, 0, None)), image.affine)
    before, there, *_ = errors(known, registered(template, ((other, mask), *rest)))
    assert there < 0.5 * before


def test_refinement_brings_the_images_closer(template, known):
    frame = frame_of(template.fit, template.fit_mask)
    moving = moving_image(frame, *known[0], known[1])
    start = torch.zeros(1, 3, *(side // 2 for side in frame.grid.shape))

    def correlation(velocity):
        image = warped(moving, to_image_grid(displacement_of(velocity)))[frame.fixed_mask > 0.5]
        return np.corrcoef(image, frame.fixed[frame.fixed_mask > 0.5])[0, 1]

    steps = [correlation(refined(start, frame, moving, number)) for number in (0, 3, 12)]
    assert steps[0] < steps[1] < steps[2]


# --- painted pairs and training -------------------------------------------------------------------------------------


def test_a_pair_follows_from_seed_and_number_and_its_velocity_brings_it_to_the_template(anatomy):
    pair, again, other = (painted_pair(anatomy, 1, number) for number in (4, 4, 5))
    assert torch.equal(pair.moving, again.moving) and torch.equal(pair.velocity, again.velocity)
    assert not torch.equal(pair.moving, other.moving)
    frame = anatomy.frame
    inside = frame.fixed_mask > 0.5
    back = warped(pair.moving, to_image_grid(displacement_of(pair.velocity)))
    before, after = (np.corrcoef(image[inside], frame.fixed[inside])[0, 1] for image in (pair.moving, back))
    assert after > before + 0.1


def test_an_untrained_network_changes_nothing_and_a_training_changes_it(small, tmp_path):
    anatomy = anatomy_of(small, CPU)
    trained = train_registration(small, TRAINED, CPU, tmp_path / "c.pt")
    pair = painted_pair(anatomy, 1, 1)
    with torch.no_grad():
        flow = flow_velocity(anatomy.frame, pair.moving)
        assert torch.equal(predicted_velocity(registration_network(), anatomy.frame, pair.moving), flow)
        assert not torch.equal(predicted_velocity(trained.network, anatomy.frame, pair.moving), flow)
    assert list(trained.losses.columns) == ["step", "loss", "flow_error"] and trained.losses["step"].tolist() == [6]
    assert trained.losses["flow_error"].item() > 0


def test_the_network_learns_to_correct_the_flow(small, tmp_path, monkeypatch):
    monkeypatch.setattr(registration_training, "painted_pair", lambda anatomy, seed, _: painted_pair(anatomy, seed, 1))
    monkeypatch.setattr(registration_training, "WARM_UP", 5)
    settings = LearnedRegistration(steps=40, learning_rate=0.003, seed=3)
    monkeypatch.setattr(registration_training, "STEPS_OF_ROW", 10)
    losses = train_registration(small, settings, CPU, tmp_path / "c.pt").losses["loss"].tolist()
    assert len(losses) == 4 and losses[-1] < 0.9 * losses[0]


def test_a_killed_and_a_stopped_training_end_with_the_same_bits(small, tmp_path, monkeypatch):
    whole = train_registration(small, TRAINED, CPU, tmp_path / "whole.pt")
    assert not (tmp_path / "whole.pt").exists()
    path, messages = tmp_path / "c.pt", []
    for end in (lambda: signal.raise_signal(signal.SIGTERM), fail):
        seen = []

        def ended(anatomy, seed, number, end=end, seen=seen):
            seen.append(number)
            if len(seen) == 2:
                end()
            return painted_pair(anatomy, seed, number)

        monkeypatch.setattr(registration_training, "painted_pair", ended)
        with pytest.raises((Interrupted, MemoryError)):
            train_registration(small, TRAINED, CPU, path, 0.0, messages.append)
    monkeypatch.setattr(registration_training, "painted_pair", painted_pair)
    resumed = train_registration(small, TRAINED, CPU, path, 0.0, messages.append)
    assert messages == ["continued after step 2 of 6", "continued after step 3 of 6"]
    assert resumed.losses.equals(whole.losses)
    for name, weights in whole.network.state_dict().items():
        assert torch.equal(weights, resumed.network.state_dict()[name])


def fail():
    raise MemoryError


def test_the_rate_rises_and_falls():
    rates = [rate_fraction(step, 1000) for step in range(1000)]
    assert rates[0] < 0.03 and 0.95 < max(rates) <= 1 and rates[-1] < 1e-4


# --- files, records and bundles -------------------------------------------------------------------------------------


def test_a_missing_or_damaged_network_is_named(template, known, tmp_path):
    with pytest.raises(
        InputError, match=r"The registration network, .*none\.safetensors, is not there; run the workflow"
    ):
        registered(template, known, LearnedRegistration(steps=1), tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"bad\.safetensors can't be read as the weights of the registration network"):
        registered(template, known, LearnedRegistration(steps=1), tmp_path / "bad.safetensors")


def test_only_the_network_that_is_used_is_needed():
    affine = {"registration": "affine", "learned": {"steps": 1500}}
    assert not needs_network(affine)
    assert needs_network(affine | {"registration": "learned"})
    assert not needs_network({"registration": "learned", "learned": {"steps": 0}})


def test_another_network_computes_the_scans_again_and_without_one_keys_stay(tmp_path):
    (tmp_path / "batches.tsv").write_text("scan_id\tbatch\tcontent\nsub-1_ses-1\t000\tx\n")
    (tmp_path / "scans.tsv").write_text("scan_id\tpath\nsub-1_ses-1\ta.nii.gz\n")
    (tmp_path / "template.npz").write_bytes(b"t")
    networks = [tmp_path / "one", tmp_path / "other"]
    for number, path in enumerate(networks):
        path.write_bytes(bytes([number]))
    given = Batch(tmp_path, "000", tmp_path, tmp_path / "t.tsv", tmp_path / "template.npz", None, SETTINGS, "code")
    keys = [_tasks(replace(given, registration_network=path))[0].key for path in (None, None, *networks)]
    assert keys[0] == keys[1] and len(set(keys)) == 3


def test_a_scan_is_registered_with_the_network_and_its_modulated_map_has_the_local_volumes(
    shared_data, template, tmp_path
):
    network = registration_network()
    write_network(tmp_path / "network.safetensors", network)
    image = shared_data / "ixi_hh_2mm" / "IXI012-HH-1211_T1_2mm.nii.gz"
    settings = Settings(
        registration="learned",
        learned=LearnedRegistration(steps=1, refinement_steps=2),
        registration_network=tmp_path / "network.safetensors",
        tissue_maps=True,
        modulated_gm=True,
    )
    result = preprocess_scan(ScanImages(image), template, settings)
    assert result.exclusion is None and result.derivatives.deformation is not None
    assert result.metrics["deformed_dice"] > result.metrics["template_dice"] and result.metrics["folded_share"] == 0
    ratio = result.derivatives.modulated_gm.data.sum() * 0.064 / result.volumes_ml["gm"]
    assert 0.9 < ratio < 1.1


def test_a_bundle_has_the_network_and_one_without_it_is_refused(tmp_path, monkeypatch):
    bundle = write_raw_scan_bundle(tmp_path, write_template(tmp_path))
    assert open_model(bundle, Options(), "cpu")[0].registration_network is None
    content = json.loads((bundle / "configs" / "raw_scans.json").read_text())
    content["preprocessing"] |= {"registration": "learned", "learned": {"steps": 1}}
    (bundle / "configs" / "raw_scans.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has no models/registration\.safetensors, with which its study registered"):
        open_model(bundle, Options(), "cpu")
    write_network(bundle / "models" / "registration.safetensors", registration_network())
    opened = open_model(bundle, Options(), "cpu")[0]
    assert opened.registration_network == bundle / "models" / "registration.safetensors"


def test_a_bundle_is_not_written_without_the_network_of_its_study(tmp_path, monkeypatch):
    import raw_scan_bundle
    from neurocohort.export.raw_scans import REGISTRATION, RawScanParts
    from raw_scan_bundle import TYPICAL, quality

    def learned(task="regression"):
        config = configuration(task)
        return config | {
            "preprocessing": config["preprocessing"] | {"registration": "learned", "learned": {"steps": 1}}
        }

    monkeypatch.setattr(raw_scan_bundle, "configuration", learned)
    template, network = write_template(tmp_path), tmp_path / "network.safetensors"
    with pytest.raises(InputError, match="registers its scans with a network, and none is there to copy"):
        write_raw_scan_bundle(tmp_path / "without", template)
    write_network(network, registration_network())
    bundle = write_raw_scan_bundle(
        tmp_path, template, parts=RawScanParts(template, quality(TYPICAL), registration=network)
    )
    assert (Path(bundle) / REGISTRATION).read_bytes() == network.read_bytes()
