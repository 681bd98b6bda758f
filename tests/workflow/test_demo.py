"""The demo: the complete workflow with one command, and what reruns after a change."""

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from html.parser import HTMLParser

import nibabel as nib
import pandas as pd
import pytest

HEADLINES = {"brain_age": ("mae", "mean", -1), "dementia": ("auc", "majority", 1), "tissue": ("dice", "atlas", 1)}


def table(demo, name):
    return pd.read_csv(demo.path(name), sep="\t")


@pytest.mark.parametrize("experiment", HEADLINES)
def test_each_experiment_is_clearly_better_than_its_trivial_baseline(demo, experiment):
    """Both are evaluated on the same scans, so the difference per scan counts. The network's values differ between CPU models."""
    metric, baseline, direction = HEADLINES[experiment]
    compared = headline_rows(demo, experiment, "comparisons", metric).set_index("baseline").loc[baseline]
    assert compared["in_favour_of"] == "network", compared
    rows = headline_rows(demo, experiment, "metrics", metric).set_index("model")
    network, trivial = rows.loc["network"], rows.loc[baseline]
    if direction > 0:
        assert network["ci_low"] > trivial["value"], rows
    else:
        assert network["ci_high"] < trivial["value"], rows


def headline_rows(demo, experiment, name, metric):
    rows = table(demo, f"results/experiments/{experiment}/{name}.tsv")
    rows = rows[(rows["part"] == "held-out") & (rows["group"] == "all") & (rows["metric"] == metric)]
    pooled = rows["cohort"] == "all"
    return rows[pooled] if pooled.any() else rows


def test_headline_gives_figures_intervals_the_warning_and_the_report(demo):
    printed = demo.run("neurocohort", "headline", "--results", "results", "config/config.yaml").stdout
    assert "DEMO DATA, NOT A SCIENTIFIC RESULT" in printed
    assert str(demo.path("results/report/index.html")) in printed
    for word in ("brain_age: mean absolute error", "dementia: area under the ROC curve", "tissue: Dice", "["):
        assert word.lower() in printed.lower(), printed


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href") and value]


def test_report_is_whole_and_needs_no_network(demo):
    page = demo.path("results/report/index.html")
    text = page.read_text()
    links = Links()
    links.feed(text)
    for link in links.found:
        if link.startswith(("#", "data:")):
            continue
        if link.startswith(("http:", "https:")):
            continue  # a link for readers; checked below that the page doesn't load it
        assert (page.parent / link).exists(), link
    loaded = [link for link in links.found if link.startswith("http") and f'src="{link}"' in text]
    assert not loaded
    scans = (
        table(demo, "results/ixi/qc.tsv")["scan_id"].tolist() + table(demo, "results/oasis1/qc.tsv")["scan_id"].tolist()
    )
    assert all(scan in text for scan in scans), "the gallery shows every scan"
    assert 'class="missing' not in text, "nothing that was expected is missing"


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Debian's chromium")
def test_report_opens_in_a_browser_from_disk(demo, tmp_path):
    page = demo.path("results/report/index.html").as_uri()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    done = subprocess.run(
        ["chromium", *flags, "--proxy-server=127.0.0.1:1", f"--user-data-dir={tmp_path}", "--dump-dom", page],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "demo data, not a scientific result" in done.stdout.lower() and "<table" in done.stdout


def test_participants_never_cross_the_split(demo):
    for experiment in HEADLINES:
        samples = table(demo, f"results/experiments/{experiment}/samples.tsv")
        assert (samples.groupby("participant_id")["part"].nunique() == 1).all()
        assert set(samples["part"]) >= {"train", "validation", "held-out"}


def test_each_lost_scan_has_a_row_with_stage_and_reason(demo):
    flow = table(demo, "results/experiments/brain_age/flow.tsv")
    ingested = flow[flow["step"] == "ingested"].set_index("cohort")["scans"]
    for cohort in ("ixi", "oasis1"):
        qc, exclusions = table(demo, f"results/{cohort}/qc.tsv"), table(demo, f"results/{cohort}/exclusions.tsv")
        assert len(qc) == ingested[cohort]
        lost = qc[qc["status"] != "ok"]
        assert set(lost["scan_id"]) <= set(exclusions["scan_id"])
        assert exclusions[["stage", "reason"]].notna().all().all()
    assert (table(demo, "results/ixi/exclusions.tsv")["reason"].str.contains("disagree in age")).any()


def test_second_run_and_touch_find_nothing_to_do(demo):
    assert demo.would_run() == {}
    for path in (*demo.path("workflow/neurocohort").rglob("*.py"), *demo.path("data").rglob("*.nii.gz")):
        path.touch()
    assert demo.would_run() == {}


def test_changed_limit_of_quality_preprocesses_no_scan_again(demo):
    config = demo.path("config/config.yaml")
    before, times = config.read_text(), config.stat()
    config.write_text(before.replace("min_brain_ml: 700", "min_brain_ml: 800"))
    try:
        jobs = demo.would_run()
    finally:
        config.write_text(before)
        os.utime(config, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "quality" in jobs and not {"preprocess_batch", "ingest_cohort", "template"} & set(jobs)


def appended(demo, name, text):
    """Append ``text`` to a file and return what would run. The file and its times are restored."""
    path = demo.path(name)
    before, times = path.read_bytes(), path.stat()
    path.write_bytes(before + text.encode())
    try:
        return demo.would_run()
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_reworded_docstring_and_changed_progress_bar_rerun_nothing(demo):
    assert appended(demo, "workflow/neurocohort/files.py", '\n# A comment.\n\n"""A text without effect."""\n') == {}
    assert appended(demo, "workflow/neurocohort/progress.py", "\nADDED = 1\n") == {}


def test_changed_registration_reruns_preprocessing_and_what_follows_and_no_download(demo):
    jobs = appended(demo, "workflow/neurocohort/imaging/registration.py", "\nADDED = 1\n")
    assert jobs["preprocess_batch"] == sum(
        table(demo, f"data/{cohort}/batches.tsv")["batch"].nunique() for cohort in ("ixi", "oasis1")
    )
    assert {"quality", "pack", "train", "metrics", "report"} <= set(jobs)
    assert not {"download", "synthetic_ixi", "synthetic_oasis1", "ingest_cohort", "split"} & set(jobs)


def test_changed_report_code_reruns_the_report_alone(demo):
    assert set(appended(demo, "workflow/neurocohort/report/pages.py", "\nADDED = 1\n")) <= {
        "report",
        "all",
        "everything",
    }


def test_changed_seed_in_the_configuration_retrains_that_experiment_alone(demo):
    config = demo.path("config/config.yaml")
    before, times = config.read_text(), config.stat()
    config.write_text(before.replace("channels: [8, 16, 32]", "channels: [4, 8, 16]"))
    try:
        jobs = demo.would_run()
    finally:
        config.write_text(before)
        os.utime(config, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert jobs["train"] == 1 and not {"preprocess_batch", "ingest_cohort", "pack"} & set(jobs)


def hashes(demo, pattern):
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(demo.folder.glob(pattern))}


@pytest.mark.parametrize("experiment", ["dementia", pytest.param("tissue", marks=pytest.mark.slow)])
def test_training_again_gives_the_same_bits(demo, experiment):
    """Of the experiment with a U-Net, and of the shorter of the two with an SFCN."""
    tables = "results/experiments/**/*.tsv"
    before = hashes(demo, tables) | hashes(demo, "results/experiments/**/*.safetensors")
    demo.snakemake("--quiet", "rules", "--forcerun", "train", "--", f"results/experiments/{experiment}/metrics.tsv")
    assert hashes(demo, tables) | hashes(demo, "results/experiments/**/*.safetensors") == before


def test_bad_scan_in_the_cohort_is_a_row_and_the_others_go_on(demo, tmp_path):
    """Runs after the tests that need the unchanged results of the demo; it makes its own copy."""
    shutil.copytree(demo.folder, tmp_path / "copy", symlinks=True)
    copied = type(demo)(tmp_path / "copy")
    scans = table(copied, "data/ixi/scans.tsv")
    empty = scans["scan_id"].iloc[0]
    replace_image(copied, empty, lambda image: nib.Nifti1Image(image.get_fdata() * 0, image.affine))
    forget_logs(copied)
    copied.snakemake("preprocess", "--quiet", "rules")
    qc, exclusions = table(copied, "results/ixi/qc.tsv"), table(copied, "results/ixi/exclusions.tsv")
    lost = qc[qc["status"] == "excluded"]
    assert set(lost["scan_id"]) == {empty} and (lost["stage"] == "read").all()
    assert "empty" in exclusions.set_index("scan_id")["reason"][empty]
    assert (qc["status"] == "ok").sum() == len(scans) - 1
    assert computed(copied) == [empty], "one image was replaced: one scan is preprocessed"


def replace_image(copied, scan_id, change):
    """Replace the image of a scan in the archive of the synthetic IXI."""
    archive = copied.path("resources/synthetic/ixi/IXI-T1.tar")
    number, content = re.search(r"IXI\d+", scan_id)[0], io.BytesIO()
    with tarfile.open(archive) as before, tarfile.open(fileobj=content, mode="w") as after:
        for member in before.getmembers():
            stream = before.extractfile(member)
            if number in member.name:
                image = nib.Nifti1Image.from_bytes(gzip.decompress(stream.read()))
                replaced = gzip.compress(change(image).to_bytes())
                member.size, stream = len(replaced), io.BytesIO(replaced)
            after.addfile(member, stream)
    archive.unlink()
    archive.write_bytes(content.getvalue())


def forget_logs(copied):
    """Delete the logs, so that `computed` only finds scans that are computed from now on."""
    for log in copied.folder.glob("logs/preprocess/ixi/*.log"):
        log.unlink()


def computed(copied):
    """Scans of IXI that were computed since `forget_logs`, from the logs of their batches."""
    logs = copied.folder.glob("logs/preprocess/ixi/*.log")
    lines = [line for log in logs for line in log.read_text().splitlines()]
    return [line.split(":")[0] for line in lines if line.startswith("sub-")]
