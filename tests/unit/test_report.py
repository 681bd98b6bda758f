"""The report: what a reader gets, that nothing missing goes unsaid, and that it needs nothing but its own folder."""

import json
import re
import shutil
import zipfile
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from neurocohort.dataset.quality_flags import BAD_SIDES, bad_sides
from neurocohort.files import read_table, sha256_of, write_table
from neurocohort.report import quality
from neurocohort.report.headline import HEADLINES, JUDGEMENTS, Figure, Verdict, headline, judgement_of
from report_fixture import EXPERIMENTS, make_study, report, study_of


class Page(HTMLParser):
    """Collects what a test asks of a page: tags with their attributes, ids, and text."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.source = (folder / "index.html").read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def red_boxes(self) -> list[str]:
        return re.findall(r'<div class="missing"[^>]*>\s*<p><strong>Missing: <code>(.*?)</code>', self.source)


@pytest.fixture(scope="module", autouse=True)
def fixed_date():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1800000000")
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> dict:
    """The arguments of a study that stays as it is."""
    return make_study(tmp_path_factory.mktemp("study"), participants=20)


@pytest.fixture(scope="module")
def whole(original) -> tuple[Page, dict]:
    """The page of a study in which nothing is missing; tests only read it."""
    assert report(original) == []
    return Page(original["output"]), original


def copied(original: dict, root: Path) -> dict:
    """A copy of the study that a test may damage, with its own arguments."""
    base = original["results"].parent
    for name in ("results", "data", "benchmarks", "envs"):
        shutil.copytree(base / name, root / name, ignore=shutil.ignore_patterns("report"))
    moved = {key: root / value.relative_to(base) for key, value in original.items() if isinstance(value, Path)}
    return original | moved


@pytest.fixture
def study(original, tmp_path) -> dict:
    return copied(original, tmp_path)


def report_of(arguments: dict) -> Page:
    report(arguments)
    return Page(arguments["output"])


def test_page_refers_to_nothing_outside_its_folder(whole):
    page, _ = whole
    addresses = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href", "srcset")
    ]
    assert addresses
    assert [address for address in addresses if re.match(r"(?i)[a-z]+:|//", address) and address != "data:,"] == []
    assert not re.search(r"url\(|@import", page.source)
    for path in page.folder.rglob("*.svg"):
        assert not re.search(r'(?:href|src)="(?!#)', path.read_text(encoding="utf-8")), path.name


def test_every_link_and_image_resolves(whole):
    page, _ = whole
    ids = page.ids()
    assert len(ids) == len(set(ids))
    targets = [a["href"] for a in page.all("a")] + [image["src"] for image in page.all("img")]
    assert len(targets) > 100
    for target in targets:
        if target.startswith("#"):
            assert unquote(target[1:]) in ids, target
        else:
            assert (page.folder / unquote(target)).is_file(), target


def test_headings_descend_one_level_at_a_time_and_images_have_texts(whole):
    page, _ = whole
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(image.get("alt") and int(image["width"]) > 0 for image in page.all("img"))
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))


def test_demo_ribbon_only_in_the_demo(whole, tampered):
    assert whole[0].text.count("Demo data, not a scientific result") == 2  # the ribbon and the foot
    assert "Demo data" not in tampered.text


def test_an_unusually_good_number_is_no_flag_and_an_unusually_bad_one_is(study):
    """The closest match with the template is no fault, nor is a large volume; a poor match is."""
    path = study["results"] / "ixi" / "qc.tsv"
    table = read_table(path)
    table = table.assign(**{name: 0.0 for name in table if name.endswith("_z")})
    table.loc[0, ["mutual_information_z", "volume_csf_ml_z", "snr_wm_z"]] = 9.3
    table.loc[1, "mutual_information_z"] = -9.3
    write_table(path, table)
    page = report_of(study)
    marks = {row["id"]: row["data-marks"] for row in page.all("tr") if "data-marks" in row}
    flagged = [row for row, mark in marks.items() if row.startswith("scan-ixi-") and "flagged" in mark]
    assert flagged == [f"scan-ixi-{table.at[1, 'scan_id']}"]


def test_every_side_of_a_fault_has_its_advice():
    for name in BAD_SIDES:
        advised = tuple(side for side, advice in (("low", quality.LOW), ("high", quality.HIGH)) if name in advice)
        assert advised == bad_sides(name)
    assert {*quality.LOW, *quality.HIGH} == {name for name, sides in BAD_SIDES.items() if sides}


def test_every_scan_has_a_row_and_a_reason_where_it_was_excluded(whole):
    page, arguments = whole
    for cohort in arguments["configuration"]["cohorts"]:
        quality = read_table(arguments["results"] / cohort / "qc.tsv")
        assert all(f"scan-{cohort}-{scan}" in page.ids() for scan in quality["scan_id"])
        for reason in read_table(arguments["results"] / cohort / "exclusions.tsv")["reason"]:
            assert reason in page.text
    assert page.source.count("unusually low: ") >= 1  # the scan with template_dice 0.81 is marked, not only coloured


def test_same_results_give_the_same_bytes(whole, study):
    first, second = whole[0], report_of(study)
    before, after = (
        {path.relative_to(page.folder): path.read_bytes() for path in page.folder.rglob("*") if path.is_file()}
        for page in (first, second)
    )
    assert before == after  # though the study lies in another folder
    assert first.source.count("2027") == 1  # the date stands in one place


def test_zip_holds_the_whole_report(whole):
    page, _ = whole
    with zipfile.ZipFile(page.folder / "report.zip") as archive:
        names = {name.removeprefix("demo_report/") for name in archive.namelist()}
        assert archive.read("demo_report/index.html").decode() == page.source
    files = {path.relative_to(page.folder).as_posix() for path in page.folder.rglob("*") if path.is_file()}
    assert names == files - {"report.zip"}


def test_provenance_names_configuration_split_lock_and_time(whole):
    page, arguments = whole
    made_by = json.loads((page.folder / "provenance.json").read_text())
    assert made_by["splits_sha256"]["results/ixi/split.tsv"] == sha256_of(arguments["results"] / "ixi" / "split.tsv")
    assert made_by["tables_sha256"]["data/oasis1/scans.tsv"] == sha256_of(arguments["data"] / "oasis1" / "scans.tsv")
    assert made_by["lock"]["sha256"] == sha256_of(arguments["lock"])
    assert made_by["command"] == arguments["command"] and made_by["command"] in page.text
    assert made_by["configuration"] == json.loads(json.dumps(arguments["configuration"]))
    train = next(rule for rule in made_by["rules"] if rule["rule"] == "train")
    assert train["jobs"] == 3 and train["wall_s"] == pytest.approx(41.0 * 3.3) and train["max_rss_mb"] == 520.5
    jinja = next(package for package in made_by["packages"] if package["name"] == "jinja2")
    assert jinja["locked"] == "0.0.1" and jinja["installed"] != "0.0.1"


@pytest.mark.parametrize(
    ("model", "baseline", "gain", "higher", "verdict"),
    [
        (6.0, 14.0, (5.0, 11.0), False, "pass"),
        (11.0, 14.0, (0.5, 5.0), False, "pass"),
        (11.0, 14.0, (-1.0, 5.0), False, "warn"),
        (11.0, 14.0, (None, None), False, "warn"),
        (15.0, 14.0, (-3.0, 1.0), False, "fail"),
        (14.0, 14.0, (0.0, 0.0), False, "fail"),
        (0.80, 0.5, (0.2, 0.4), True, "pass"),
        (0.60, 0.5, (-0.05, 0.25), True, "warn"),
        (0.45, 0.5, (-0.2, 0.1), True, "fail"),
    ],
)
def test_verdict(model, baseline, gain, higher, verdict):
    task = HEADLINES["classification" if higher else "regression"]
    assert JUDGEMENTS[judgement_of(Figure(model), Figure(baseline), Figure(0.0, *gain), task)][0] == verdict


def verdict_on(study: dict, name: str) -> Verdict:
    (verdict,) = headline([study_of(**study).experiments[name]])
    return verdict


def test_verdict_is_that_of_the_paired_difference_where_the_intervals_overlap(study):
    """Two intervals that touch say little of two models that were tested on the same people."""
    path = study["results"] / "experiments" / "tissue" / "metrics.tsv"
    metrics = read_table(path)
    metrics.loc[metrics["metric"] == "dice", ["ci_low", "ci_high"]] = (0.6, 0.95)
    write_table(path, metrics)
    verdict = verdict_on(study, "tissue")
    row = read_table(path.with_name("comparisons.tsv")).query("metric == 'dice' and group == 'all'").squeeze()
    assert verdict.state == "pass" and verdict.gain.value == pytest.approx(row["difference"])
    interval = f"{row['difference']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    assert f"Better than the trivial baseline by {interval}, paired by participant." in verdict.sentence
    path.with_name("comparisons.tsv").unlink()
    verdict = verdict_on(study, "tissue")
    assert verdict.state == "warn" and "the paired difference has no interval" in verdict.sentence


def test_headline_says_the_numbers_and_a_baseline_that_is_as_good(whole):
    _, arguments = whole
    verdicts = {name: verdict_on(arguments, name) for name in EXPERIMENTS}
    assert [verdicts[name].metric for name in EXPERIMENTS] == ["mae", "auc", "dice"]
    dementia = verdicts["dementia"]
    assert dementia.state == "warn" and dementia.headline.trivial == "majority" and dementia.trivial.value == 0.5
    assert "the interval includes 0" in dementia.sentence
    assert "0.780 [0.663, 0.897]" in dementia.sentence and f"{dementia.n} held-out participants" in dementia.sentence
    assert "Age and sex alone reach 0.840" in dementia.sentence
    assert verdicts["tissue"].caveat == ""
    assert "years" in verdicts["brain_age"].sentence


def test_verdict_is_of_the_held_out_part_not_of_the_external_cohort(study):
    path = study["results"] / "experiments" / "brain_age" / "metrics.tsv"
    metrics = read_table(path)
    chosen = (metrics["part"] == "external") & (metrics["model"] == "network") & (metrics["metric"] == "mae")
    metrics.loc[chosen, "value"] = 99.0
    write_table(path, metrics)
    verdict = verdict_on(study, "brain_age")
    assert verdict.cohort == "ixi" and verdict.network.value < 20


def test_constant_guess_has_an_auc_of_one_half_where_its_row_is_absent(study):
    path = study["results"] / "experiments" / "dementia" / "metrics.tsv"
    metrics = read_table(path)
    write_table(path, metrics[metrics["model"] != "majority"])
    verdict = verdict_on(study, "dementia")
    assert (verdict.trivial.value, verdict.judgement) == (0.5, "unclear")


REMOVED = [
    "results/ixi/preproc/sub-IXI012/ses-1/anat/sub-IXI012_ses-1_mosaic.webp",
    "results/ixi/preproc/sub-IXI019/ses-1/anat/sub-IXI019_ses-1_qc.json",
    "results/oasis1/qc.tsv",
    "results/ixi/exclusions.tsv",
    "results/oasis1/split.tsv",
    "data/ixi/scans.tsv",
    "data/ixi/exclusions.tsv",
    "data/ixi/notes.tsv",
    "results/ixi/notes.tsv",
    "results/experiments/brain_age/flow.tsv",
    "results/experiments/brain_age/samples.tsv",
    "results/experiments/brain_age/seed-1/history.tsv",
    "results/experiments/brain_age/seed-1/run.json",
    "results/experiments/brain_age/predictions.tsv",
    "results/experiments/dementia/baselines.tsv",
    "results/experiments/tissue/metrics.tsv",
    "envs/requirements.txt",
]


@pytest.fixture(scope="module")
def damaged(original, tmp_path_factory) -> Page:
    """The page of a study from which every file of REMOVED is gone."""
    root = tmp_path_factory.mktemp("damaged")
    arguments = copied(original, root)
    for file in REMOVED:
        (root / file).unlink()
    return report_of(arguments)


@pytest.mark.parametrize("file", REMOVED)
def test_missing_file_is_a_red_box_that_names_it(damaged, file):
    assert file in damaged.red_boxes()
    summary = damaged.source[damaged.source.index('<div class="missing summary"') :].split("</div>")[0]
    assert file in summary


def test_notes_on_the_data_are_in_the_report_by_kind_and_counted(whole):
    page, _ = whole
    assert "62 notes on what was chosen, changed, not understood or unusual" in page.text
    assert "2 people in the spreadsheet of ixi have no image." in page.text
    assert "sub-IXI000_ses-1_run-1_T1w.nii.gz is taken." in page.text
    assert "The brain is cut by 0.3 % at its front." in page.text
    assert "10 more notes of this kind are in data/ixi/notes.tsv." in page.text


def test_summary_of_what_is_missing_leads_to_each_box_and_names_nothing_else(damaged):
    ids = damaged.ids()
    assert len(ids) == len(set(ids))
    assert all(a["href"][1:] in ids for a in damaged.all("a") if a["href"].startswith("#missing"))
    assert set(damaged.red_boxes()) == set(REMOVED)


def test_empty_tree_gives_a_page_of_red_boxes(tmp_path, study):
    bare = study | {name: tmp_path / "bare" / name for name in ("results", "data", "benchmarks")}
    page = report_of(bare | {"lock": tmp_path / "bare" / "envs" / "requirements.txt", "output": tmp_path / "report"})
    boxes = page.red_boxes()
    assert {"results/ixi/qc.tsv", "results/experiments/tissue/metrics.tsv", "envs/requirements.txt"} <= set(boxes)
    assert "benchmarks" in " ".join(boxes)
    assert page.text.count("No verdict") == 3


ATTACK = "<script>alert(1)</script>"


def change(path: Path, edit) -> None:
    write_table(path, edit(read_table(path)))


@pytest.fixture(scope="module")
def tampered(original, tmp_path_factory) -> Page:
    """The page of a study whose tables are whole to read and wrong in what they say: see the tests that use it."""
    arguments = copied(original, tmp_path_factory.mktemp("tampered"))
    results, experiments = arguments["results"], arguments["results"] / "experiments"
    for name in ("qc.tsv", "exclusions.tsv"):
        change(
            results / "ixi" / name,
            lambda table: table.assign(reason=table["reason"].where(table["reason"].isna(), ATTACK)),
        )
    change(experiments / "tissue" / "seed-1" / "history.tsv", lambda table: table.drop(columns="train_loss"))
    change(experiments / "brain_age" / "predictions.tsv", lambda table: table[table["part"] != "external"])

    def namesake(samples):  # a participant of another cohort with the same number
        other = samples.index[samples["cohort"] == "oasis1"][0]
        samples.loc[other, "participant_id"] = samples["participant_id"].iloc[0]
        return samples

    def twice(samples):
        again = samples[samples["part"] == "train"].head(1).assign(part="held-out", scan_id="sub-again_ses-2")
        return pd.concat([samples, again])

    change(experiments / "brain_age" / "samples.tsv", namesake)
    change(experiments / "tissue" / "samples.tsv", twice)
    samples = read_table(experiments / "dementia" / "samples.tsv")
    pair = [samples.loc[samples["part"] == part, "scan_id"].iloc[0] for part in ("train", "held-out")]

    def same_image(scans):
        scans.loc[scans["scan_id"].isin(pair), "voxels_sha256"] = "f" * 64
        return scans

    change(arguments["data"] / "oasis1" / "scans.tsv", same_image)
    configuration = arguments["configuration"] | {"study": f'"{ATTACK}', "demo_data": False}
    return report_of(arguments | {"configuration": configuration, "command": f"snakemake {ATTACK}"})


def checks(page: Page) -> dict[str, str]:
    """The text of each experiment's check of the split, by the experiment's title."""
    articles = re.findall(r'<article class="check.*?</article>', page.source, re.DOTALL)
    return {re.search(r"<h3>(.*?)</h3>", article).group(1): article for article in articles}


def test_table_without_a_column_or_without_the_rows_of_a_cohort_is_a_red_box(tampered):
    assert "results/experiments/tissue/seed-1/history.tsv" in tampered.red_boxes()
    assert "lacks the column(s) train_loss" in tampered.text
    assert "The table has no rows of the external cohort oasis1." in tampered.text


def test_names_from_outside_are_escaped(tampered):
    assert ATTACK not in tampered.source
    assert tampered.text.count(ATTACK) >= 5  # study, command, exclusions, captions: shown, not run
    assert len(tampered.all("script")) == 1


def test_participant_in_two_parts_is_flagged(tampered):
    check = checks(tampered)["Tissue"]
    assert "Leak: 1 participant in more than one part" in check and "oasis1: sub-OAS1012" in check
    assert 'class="check leak"' in check


def test_same_image_under_two_names_is_flagged(tampered):
    check = checks(tampered)["Dementia"]
    assert "Leak: 1 image with identical content in more than one part" in check


def test_same_participant_id_on_two_sides_in_two_cohorts_is_flagged(tampered, whole):
    assert 'class="check clean"' not in checks(tampered)["Brain age"]
    assert all('class="check clean"' in check for check in checks(whole[0]).values())
