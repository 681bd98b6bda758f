"""The scans' pages, the viewers of volumes, the gallery's pictures, the gates, and what one missing file does to them."""

import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.files import read_json, read_table, write_json, write_table
from neurocohort.imaging.derivatives import preproc_name, scan_folder
from neurocohort.report import gates, mosaics, viewers
from neurocohort.report.cases import best_median_worst, errors_by_scan
from neurocohort.report.headline import Figure
from neurocohort.report.provenance import Git, run_id
from neurocohort.report.quality import Gallery, GalleryCell, GalleryRow, QualityNumber
from PIL import Image
from report_fixture import make_study, report
from statement_pieces import COMPARISON, VERDICT, gates_of, network_rows

VIEWED = "sub-IXI012_ses-1"
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture(scope="module", autouse=True)
def fixed_date():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1800000000")
        yield


def ball(edge: int = 20) -> np.ndarray:
    """A bright ball in the middle of a dark cube."""
    far = np.linalg.norm(np.indices((edge, edge, edge)) - (edge - 1) / 2, axis=0)
    return np.where(far < edge / 3, 1.0 - far / edge, 0.0).astype(np.float32)


def write_scans(results: Path) -> None:
    """A preprocessed image for every scan that has a mosaic, named in the scan's record."""
    for path in results.glob("*/preproc/**/*_qc.json"):
        record = read_json(path)
        if record["outputs"]:
            name = preproc_name(record["scan_id"], "T1w")
            nib.save(nib.Nifti1Image(ball(), AFFINE), path.parent / name)
            write_json(path, record | {"outputs": record["outputs"] | {"preproc_T1w": {"file": name}}})


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> dict:
    """The arguments of a report with three viewers, which is written."""
    arguments = make_study(tmp_path_factory.mktemp("subjects"), participants=12)
    write_scans(arguments["results"])
    arguments["configuration"] |= {"report": {"viewers": 3}}
    report(arguments)
    return arguments


def copied(study: dict, root: Path) -> dict:
    base = study["results"].parent
    for name in ("results", "data", "benchmarks", "envs"):
        shutil.copytree(base / name, root / name, ignore=shutil.ignore_patterns("report"))
    return study | {key: root / value.relative_to(base) for key, value in study.items() if isinstance(value, Path)}


def pages(study: dict) -> dict[str, str]:
    """The pages of the scans by scan."""
    folder = study["output"] / "subjects"
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*/*.html"))}


def boxes(source: str) -> list[str]:
    return re.findall(r"<strong>Missing: <code>(.*?)</code>", source)


def test_every_scan_of_the_quality_table_has_a_page_below_4_mb(study):
    found = pages(study)
    for cohort in study["configuration"]["cohorts"]:
        assert set(read_table(study["results"] / cohort / "qc.tsv")["scan_id"]) <= set(found)
    assert max(map(len, found.values())) < 4e6
    assert all("sub-" in text and "Back to the gallery" in text for text in found.values())


def test_page_says_who_the_scan_is_what_became_of_it_and_what_was_predicted(study):
    predictions = read_table(study["results"] / "experiments" / "brain_age" / "predictions.tsv")
    row = predictions[predictions["part"] == "held-out"].iloc[0]
    page = pages(study)[row["scan_id"]]
    assert f"<dd>{row['participant_id']}</dd>" in page and f"<dd>{row['age']:.1f} years</dd>" in page
    assert "Held-out" in page and f"{row['prediction']:.1f}" in page and f"{row['target']:.1f}" in page
    assert re.search(r"Place \d+ of \d+ held-out scans", page)
    excluded = pages(study)["sub-IXI075_ses-1"]
    assert "template_dice is 0.81, below the limit 0.90." in excluded and "not in this experiment" in excluded


def test_training_scan_shows_no_prediction(study):
    samples = read_table(study["results"] / "experiments" / "brain_age" / "samples.tsv")
    trained = samples[(samples["part"] == "train") & (samples["cohort"] == "ixi")]["scan_id"].iloc[0]
    assert "Training: no prediction." in pages(study)[trained]


def test_segmentation_shows_dice_by_tissue(study):
    predictions = read_table(study["results"] / "experiments" / "tissue" / "predictions.tsv")
    for _, row in predictions[predictions["scan_id"] == predictions["scan_id"].iloc[0]].iterrows():
        assert f'{row["tissue"]}</th><td class="right">{row["dice"]:.3f}</td>' in pages(study)[row["scan_id"]]


def test_numbers_stand_beside_the_median_of_the_site_and_the_rank(study):
    quality = read_table(study["results"] / "ixi" / "qc.tsv")
    scan = quality[quality["status"] == "ok"].iloc[0]
    same_site = quality.loc[quality["site"] == scan["site"], "snr_wm"]
    page = pages(study)[scan["scan_id"]]
    row = re.search(r'<tr><th scope="row">SNR WM</th>.*?</tr>', page).group()
    cells = [re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row)]
    rank = int((quality["snr_wm"] < scan["snr_wm"]).sum()) + 1
    assert cells[0] == f"{scan['snr_wm']:.1f}" and cells[2] == f"{same_site.median():.1f}"
    assert cells[3] == f"{scan['snr_wm_z']:.1f}".replace("-", "−")
    assert cells[4] == f"{rank} of {quality['snr_wm'].notna().sum()}"


def test_as_many_viewers_as_asked_for_the_cases_first(study):
    viewed = {scan for scan, page in pages(study).items() if "<iframe" in page}
    assert len(viewed) == 3
    predictions = read_table(study["results"] / "experiments" / "brain_age" / "predictions.tsv")
    cases = best_median_worst(errors_by_scan(predictions, "regression"))
    assert {scan for _, scan in cases.values()} == viewed


def test_cases_are_the_best_the_median_and_the_worst():
    table = pd.DataFrame({"cohort": "a", "part": ["held-out"] * 5 + ["validation"], "scan_id": list("edcbax"),
                          "target": 50.0, "prediction": [51, 48, 55, 58, 50, 90.0]})  # fmt: skip
    found = best_median_worst(errors_by_scan(table, "regression"))
    assert found == {"Best": ("a", "a"), "Median": ("a", "d"), "Worst": ("a", "b")}


def test_unusual_scans_get_a_viewer_before_the_others():
    def row(name, *scores):
        cells = [GalleryCell(QualityNumber("cnr", "CNR", 1, True), 1.0, score) for score in scores]
        return GalleryRow(name, "", "", "ok", "", "", cells, None, "", {})

    gallery = [Gallery("a", rows=[row("plain"), row("odd", 4.0), row("oddest", -9.0, 3.6)])]
    assert viewers.chosen([], gallery, 2) == [("a", "oddest"), ("a", "odd")]
    assert viewers.chosen([("a", "plain"), ("a", "unknown")], gallery, 2) == [("a", "plain"), ("a", "oddest")]


def test_viewer_makes_no_request_and_shows_a_label_map():
    data = ball()
    outline = viewers.viewer_page(data, None, AFFINE)
    labelled = viewers.viewer_page(data, (data > 0.9).astype(np.uint8) + (data > 0), AFFINE)
    for page in (outline, labelled):
        assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//|url\(|@import""", page)
    assert outline != labelled


def test_fine_grid_is_thinned_out_until_the_viewer_is_small(monkeypatch):
    noise = np.random.default_rng(1).random((48, 48, 48)).astype(np.float32)
    whole = viewers.viewer_page(noise, None, np.diag([2.0, 2.0, 2.0, 1.0]))
    assert '"X": 48' in whole
    assert '"X": 24' in viewers.viewer_page(noise, None, np.eye(4))  # 1 mm comes to 2 mm
    monkeypatch.setattr(viewers, "MAX_BYTES", len(whole) - 1)
    assert '"X": 24' in viewers.viewer_page(noise, None, np.diag([2.0, 2.0, 2.0, 1.0]))


def test_pictures_are_made_smaller_until_all_fit(tmp_path):
    generator = np.random.default_rng(1)
    files = []
    for number in range(6):
        noise = Image.fromarray(generator.integers(0, 255, (482, 928, 3), dtype=np.uint8))
        files.append(tmp_path / f"{number}_mosaic.webp")
        noise.save(files[-1], quality=80)
    total = sum(path.stat().st_size for path in files)
    assert mosaics.fitting_size(files, total) is None
    budget = total // 8
    size = mosaics.fitting_size(files, budget)
    for path in files:
        width, height = mosaics.place(path, tmp_path / "small" / path.name, size)
        assert (width, height) == (size.width, round(482 * size.width / 928))
    assert sum(path.stat().st_size for path in (tmp_path / "small").iterdir()) <= 1.05 * budget


def test_where_pictures_are_smaller_the_scans_page_keeps_the_full_one(study, tmp_path, monkeypatch):
    arguments = copied(study, tmp_path)
    monkeypatch.setattr(mosaics, "fitting_size", lambda files: mosaics.SIZES[-1])
    report(arguments)
    folder = arguments["output"]
    with Image.open(folder / "mosaics" / "ixi" / f"{VIEWED}.webp") as small:
        assert small.width < 928
    with Image.open(folder / "subjects" / "ixi" / f"{VIEWED}.webp") as full:
        assert full.width == 928
    assert f'src="{VIEWED}.webp"' in pages(arguments)[VIEWED]


ONE_LOST = {
    "results/ixi/preproc/{place}/{scan}_mosaic.webp": "the mosaic of {scan}",
    "results/experiments/brain_age/predictions.tsv": "brain_age",
    "results/experiments/brain_age/seed-1/history.tsv": "brain_age",
    "results/ixi/preproc/{place}/{scan}_space-MNI152NLin2009aSym_desc-preproc_T1w.nii.gz": "the volume viewer of {scan}",
}


@pytest.mark.parametrize("file", ONE_LOST)
def test_one_file_that_is_lost_is_boxed_by_name_and_nothing_else_is(study, tmp_path, file):
    viewed = next(scan for scan, page in pages(study).items() if "<iframe" in page)
    before = boxes((study["output"] / "index.html").read_text())
    arguments = copied(study, tmp_path)
    place = scan_folder(Path(), viewed)
    name, what = file.format(scan=viewed, place=place), ONE_LOST[file].format(scan=viewed)
    (tmp_path / name).unlink()
    ledger = report(arguments)
    index = (arguments["output"] / "index.html").read_text()
    assert set(boxes(index)) - set(before) == {name}
    assert what in " ".join(item.what for item in ledger if item.file == name)
    box = re.search(rf'<div class="missing"[^>]*>\s*<p><strong>Missing: <code>{re.escape(name)}</code>', index)
    assert box, "the box stands where the item would have stood"
    on_pages = [scan for scan, page in pages(arguments).items() if name in boxes(page)]
    if "predictions" in name:
        assert set(on_pages) == set(pages(arguments))
    elif "history" not in name:
        assert on_pages == [viewed]
    assert '<dt>Nothing missing</dt><dd class="gate fail">' in index


def states(*changes, **more) -> dict[str, str]:
    return {gate.name: gate.state for gate in gates_of(*changes, **more)}


LEARNED, BEATS, CLEAR, LEAK, CONTROL = (
    "Every network learned",
    "Beats the trivial baseline",
    "Clear of the best baseline",
    "No leak",
    "Control at chance",
)


def test_gates_pass_warn_and_fail():
    assert set(states(control={"holds": True}).values()) == {"pass"}
    assert states()[CONTROL] == "open"  # without a control there is nothing to judge
    assert states({"network": Figure(15.0)})[BEATS] == "fail"
    assert states(comparison=COMPARISON | {"in_favour_of": "neither"})[CLEAR] == "warn"
    assert states(comparison=COMPARISON | {"in_favour_of": "baseline"})[CLEAR] == "fail"
    assert states(comparison=None)[CLEAR] == "open"
    assert states(split={"overlapping": ["ixi: a"]})[LEAK] == "fail"
    assert states(split={"images": 1})[LEAK] == "fail"
    assert states(control={"holds": False})[CONTROL] == "fail"
    missing = states({"network": None})
    assert (missing[BEATS], missing[CLEAR]) == ("open", "open")


def test_gate_of_the_networks_names_those_that_learned_nothing():
    assert states(networks=network_rows("no", "no"))[LEARNED] == "fail"
    assert states(networks=network_rows("yes", "no", "yes"))[LEARNED] == "warn"
    assert states(networks=network_rows("yes", "yes", edge="first"))[LEARNED] == "warn"
    assert states(networks=network_rows("not judged"))[LEARNED] == "open"
    gate = gates_of(networks=network_rows("yes", "no", "yes"))[0]
    assert "fold 2, seed 1" in gate.finding and "over the other 2" in gate.finding


def test_card_states_the_paired_difference_to_the_best_baseline():
    row = COMPARISON | {"best": "yes", "cohort": "ixi", "part": "held-out", "group": "all", "metric": "mae"}
    others = [row | {"baseline": "mean", "best": "no"}, row | {"part": "external", "difference": 9.0}]
    found = gates.best_comparison(VERDICT, pd.DataFrame([*others, row]))
    assert found["baseline"] == "volumes" and found["difference"] == -2.0
    sentence = gates.difference_sentence(VERDICT, found)
    assert "tissue volumes alone" in sentence and "−2.00 years [−3.00, −1.00]" in sentence


def test_run_id_follows_commit_configuration_and_splits():
    first = run_id(Git("a", False), "c", {"split": "s"})
    assert len(first) == 10 and first == run_id(Git("a", True), "c", {"split": "s"})
    others = [run_id(Git("b", False), "c", {"split": "s"}), run_id(Git("a", False), "d", {"split": "s"})]
    assert len({first, *others, run_id(Git("a", False), "c", {"split": "t"})}) == 4


def test_page_shows_the_interval_or_the_set_of_classes_of_the_prediction(study, tmp_path):
    own = copied(study, tmp_path)
    folder = own["results"] / "experiments"
    limits = {"interval_low": 41.25, "interval_high": 63.75}
    for name, values in (("brain_age", limits), ("dementia", {"set": "{0, 1}"})):
        table = read_table(folder / name / "intervals.tsv")
        write_table(folder / name / "intervals.tsv", table.assign(**values))
        scan = table.loc[table["part"] == "held-out", "scan_id"].iloc[0]
        report(own)
        page = pages(own)[scan]
        if name == "brain_age":
            assert "95 % interval (years)" in page and "41.2 to 63.8" in page
            assert "intervals of about 95 % of new participants contain the true value" in page
        else:
            assert (
                "95 % set" in page
                and " or " in page
                and "sets of about 95 % of new participants contain the true class" in page
            )
    assert "95 % interval" not in "".join(pages(study).values()), "too few validation scans for any"
