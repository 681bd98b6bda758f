"""A finished study of twelve people as small as `neurocohort export` needs it: two cohorts' files, one experiment, one bundle."""

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from neurocohort.dataset.frozen_split import freeze, frozen_path
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.files import sha256_of, write_json, write_table, write_text
from neurocohort.handover.archive import Place

SPLIT = {"validation": 0.2, "held_out": 0.5, "seed": 1, "folds": 0}
BOOTSTRAP = Bootstrap(200, 1)
DESCRIPTION = "Gantry Nordflügel 4711"  # in the header of an image
FREE_TEXT = "moved away after the second visit"
PATIENT = "Erika Mustermann"  # in an image's sidecar
PAGE = """<html><body><main id="content"><h1>28 November 2026</h1>
<p><a href="report.zip">report.zip</a> has this page with everything it shows. Tables follow.</p>
<p>{scan}, <a class="id" href="subjects/own/{scan}.html">sub-AB1001_<wbr>ses-20190312</a> of AB1_001 and AB1999</p>
<figure><a href="subjects/own/{scan}.html"><img src="mosaics/own/{scan}.webp" alt="{scan}"></a></figure>
<a href="tables/own_split.tsv">the split</a> and <a href="#content">the top</a></main></body></html>
"""


def people_of(count: int = 12) -> pd.DataFrame:
    """scans.tsv, out of alphabetical order."""
    numbers = [1 + (7 * index) % count for index in range(count)]
    people = [f"sub-AB1{number:03d}" for number in numbers]
    scans = [f"{person}_ses-20190312" for person in people]
    return pd.DataFrame(
        {
            "participant_id": people,
            "session_id": "ses-20190312",
            "scan_id": scans,
            "site": "Guys",
            "path": [f"{person}/{scan}_T1w.nii.gz" for person, scan in zip(people, scans, strict=True)],
            "voxels_sha256": [hashlib.sha256(person.encode()).hexdigest() for person in people],
            "age": np.linspace(20, 80, count) + 1 / 3,
            "sex": ["F", "M"] * (count // 2),
        }
    )


def make_study(root: Path) -> Place:
    """Write the study under ``root``."""
    place = Place(root / "results", root / "data", root / "splits")
    scans = people_of()
    cohort = place.data / "own"
    write_table(cohort / "scans.tsv", scans)
    jobs = ["teacher", FREE_TEXT, *["nurse"] * (len(scans) - 2)]
    write_table(cohort / "participants.tsv", scans[["participant_id", "age", "sex"]].assign(remark=jobs))
    for index, path in enumerate(scans["path"]):
        image = nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
        image.header["descrip"] = DESCRIPTION.encode() if index == 3 else b"T1w"
        (cohort / path).parent.mkdir(parents=True)
        nib.save(image, cohort / path)
    sidecar = cohort / scans["path"][0].replace(".nii.gz", ".json")
    sidecar.write_text(json.dumps({"PatientName": PATIENT, "Manufacturer": "Siemens", "EchoTime": 0.0035}))
    split = scans[["participant_id"]].assign(part=["train", "held-out"] * 6, stratum="all")
    write_table(place.results / "own" / "split.tsv", split)
    freeze(frozen_path(place.splits, "own", **{key: SPLIT[key] for key in ("validation", "held_out", "seed")}), split)
    _experiment(place.results / "experiments" / "age", scans, split)
    _bundle(place.results / "models" / "age", root)
    _report(place, scans, root)
    return place


def _experiment(folder: Path, scans: pd.DataFrame, split: pd.DataFrame) -> None:
    samples = scans.assign(cohort="own", part=split["part"], target=scans["age"]).drop(columns=["path", "session_id"])
    write_table(folder / "samples.tsv", samples)
    columns = ["cohort", "part", "scan_id", "participant_id", "site", "age", "sex", "target"]
    tested = samples.loc[samples["part"] == "held-out", columns].reset_index(drop=True)
    predictions = tested.assign(prediction=tested["target"] + [3.1, -2.2, 5.3, -7.4, 0.5, 1.6])
    baselines = tested.assign(model="mean", prediction=50.0)
    write_table(folder / "predictions.tsv", predictions)
    write_table(folder / "baselines.tsv", baselines)
    write_table(folder / "metrics.tsv", evaluate(predictions, baselines, "regression", BOOTSTRAP))


def _bundle(folder: Path, root: Path) -> None:
    write_json(
        folder / "configs" / "metadata.json",
        {"name": "age", "data": str(root / "my scans" / "bids"), "on": "2026-11-28"},
    )
    write_safetensors(folder / "models" / "model.safetensors", {})


def write_safetensors(path: Path, metadata: dict[str, str]) -> None:
    """Weights of 4 kB with this metadata."""
    data = np.random.default_rng(1).normal(size=1000).astype(np.float32).tobytes()
    described = {"__metadata__": metadata, "layer": {"dtype": "F32", "shape": [1000], "data_offsets": [0, len(data)]}}
    header = json.dumps(described).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def _report(place: Place, scans: pd.DataFrame, root: Path) -> None:
    report, scan = place.results / "report", scans["scan_id"][0]
    write_text(report / "index.html", PAGE.format(scan=scan))
    write_text(report / "subjects" / "own" / f"{scan}.html", f"<p>{scan}</p>")
    write_text(report / "report.zip", "the whole report")
    (report / "mosaics" / "own").mkdir(parents=True)
    (report / "mosaics" / "own" / f"{scan}.webp").write_bytes(bytes(range(256)))
    write_table(report / "tables" / "own_split.tsv", scans[["participant_id"]])
    configuration = {
        "study": "small",
        "cohorts": {"own": {"source": "bids", "path": str(root / "my scans" / "bids")}},
        "experiments": {"age": {"task": "regression", "target": "age", "cohorts": ["own"], "training": {"seeds": [1]}}},
        "evaluation": {"resamples": BOOTSTRAP.resamples, "seed": BOOTSTRAP.seed},
        "split": SPLIT,
    }
    write_json(
        report / "provenance.json",
        {"study": "small", "created": "2026-11-28T02:03:54+00:00", "configuration": configuration},
    )
    page = report / "index.html"
    entities = [
        {"@id": "./", "@type": "Dataset", "hasPart": [{"@id": "index.html"}, {"@id": "mosaics/"}]},
        {"@id": "index.html", "@type": "File", "sha256": sha256_of(page), "contentSize": str(page.stat().st_size)},
        {"@id": "mosaics/", "@type": "Dataset", "name": "mosaics"},
    ]
    write_json(report / "ro-crate-metadata.json", {"@graph": entities})
