"""A small study's results as the stages leave them, with drawn numbers in place of computed ones: what the report is
tested on, and drawn from while its page is designed."""

from pathlib import Path

import numpy as np
import pandas as pd
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.tables import evaluation_tables
from neurocohort.files import sha256_of, write_json, write_table, write_text
from neurocohort.imaging.derivatives import mosaic_name, qc_name, scan_folder
from neurocohort.notes import PREPROCESSING, Kind, Notes, write_notes
from neurocohort.report.report import write_report
from neurocohort.report.sources import Missing
from neurocohort.report.study import Folders, Study, read_study
from PIL import Image, ImageDraw

EXPERIMENTS = {
    "brain_age": {
        "task": "regression",
        "target": "age",
        "cohorts": ["ixi"],
        "external": ["oasis1"],
        "network": {"name": "sfcn", "channels": [8, 16, 32]},
        "training": {"epochs": 30, "seeds": [1]},
    },
    "dementia": {
        "task": "classification",
        "target": "dementia",
        "cohorts": ["oasis1"],
        "network": {"name": "sfcn", "channels": [8, 16, 32]},
        "training": {"epochs": 30, "seeds": [1]},
    },
    "tissue": {
        "task": "segmentation",
        "target": "dseg",
        "cohorts": ["oasis1"],
        "network": {"name": "unet", "channels": [8, 16]},
        "training": {"epochs": 15, "seeds": [1]},
    },
}
APPLIED = ["cohort", "part", "scan_id", "participant_id", "prediction", "spread", "reason"]
RESAMPLES = 40  # the intervals of the fixture need be no better
TISSUES = {"CSF": 300.0, "GM": 620.0, "WM": 480.0}


def make_study(root: Path, participants: int = 28) -> dict:
    """Write data, results, benchmarks and a lock under ``root``; return the arguments of `study_of`, and ``output``."""
    generator = np.random.default_rng(7)
    results, data = root / "results", root / "data"
    cohorts = {
        "ixi": _cohort(root, "ixi", ["Guys", "HH", "IOP"], participants, generator),
        "oasis1": _cohort(root, "oasis1", ["WashU"], participants - 2, generator),
    }
    for name, settings in EXPERIMENTS.items():
        _experiment(results / "experiments" / name, settings, cohorts, generator)
    for rule, seconds, jobs in (
        ("preprocess_batch", 6.1, 12),
        ("train", 41.0, 3),
        ("evaluate", 2.2, 3),
        ("ingest", 1.4, 2),
    ):
        for job in range(jobs):
            row = {
                "s": round(seconds * (1 + 0.1 * job), 4),
                "h:m:s": "0:00:06",
                "max_rss": 480.5 + 20 * job,
                "io_in": "-",
            }
            write_table(root / "benchmarks" / rule / f"job{job}.tsv", pd.DataFrame([row]))
    lock = root / "envs" / "requirements.txt"
    write_text(lock, "# the lock\njinja2==0.0.1\nnumpy==2.4.6 \\\n    --hash=sha256:00\ntorch==2.9.0\n")
    return {
        "results": results,
        "data": data,
        "configuration": {
            "study": "demo",
            "seed": 1,
            "demo_data": True,
            "cohorts": {"ixi": {"source": "table"}, "oasis1": {"source": "table"}},
            "experiments": EXPERIMENTS,
        },
        "command": "snakemake --cores 2 --configfile config/config.yaml",
        "lock": lock,
        "benchmarks": root / "benchmarks",
        "output": results / "report",
    }


def study_of(*, output: Path | None = None, **arguments) -> Study:
    """The study of `make_study`'s arguments."""
    folders = Folders(*(arguments[name] for name in ("results", "data", "benchmarks", "lock")))
    return read_study(folders, arguments["configuration"], arguments["command"])


def report(arguments: dict) -> list[Missing]:
    """Write the report of `make_study`'s arguments; what was missing."""
    return write_report(study_of(**arguments), arguments["output"])


def _cohort(
    root: Path, cohort: str, sites: list[str], participants: int, generator: np.random.Generator
) -> pd.DataFrame:
    data, results = root / "data" / cohort, root / "results" / cohort
    prefix = "sub-IXI" if cohort == "ixi" else "sub-OAS1"
    people = [f"{prefix}{12 + 7 * index:03d}" for index in range(participants)]
    scans = pd.DataFrame(
        {
            "participant_id": people,
            "session_id": "ses-1",
            "scan_id": [f"{person}_ses-1" for person in people],
            "site": [sites[index % len(sites)] for index in range(participants)],
            "voxels_sha256": [f"{generator.integers(1 << 62):064x}" for _ in people],
            "age": generator.uniform(20, 86, participants).round(2),
            "sex": generator.choice(["F", "M"], participants),
        }
    )
    scans["dementia"] = (generator.random(participants) < 0.45).astype(int) if cohort == "oasis1" else np.nan
    scans["cdr"] = [value * (0.5 if index % 2 else 1.0) for index, value in enumerate(scans["dementia"])]
    write_table(data / "scans.tsv", scans)
    ingest = pd.DataFrame(
        [
            (
                f"{prefix}991",
                f"{prefix}991_ses-1",
                "ingest",
                "The image can't be read: the file ends after 1,024 bytes.",
            ),
            (f"{prefix}992", None, "ingest", "The table gives two ages, 34.2 and 61.8, for one participant."),
        ],
        columns=["participant_id", "scan_id", "stage", "reason"],
    )
    write_table(data / "exclusions.tsv", ingest)
    notes = Notes()
    notes.add(Kind.TABLES, f"2 people in the spreadsheet of {cohort} have no image.")
    for scan_id in [f"{prefix}{number:03d}_ses-1" for number in range(60)]:
        notes.add(Kind.IMAGES, f"{scan_id}_run-1_T1w.nii.gz is taken.", scan_id=scan_id)
    write_notes(data / "notes.tsv", notes.notes)
    found = Notes(PREPROCESSING)
    found.add(Kind.SCANS, "The brain is cut by 0.3 % at its front.", scan_id=f"{prefix}004_ses-1")
    write_notes(results / "notes.tsv", found.notes)
    dropped = {
        3: ("brain_extraction", "The brain mask is empty."),
        9: ("quality", "template_dice is 0.81, below the limit 0.90."),
    }
    quality = []
    for index, scan in scans.iterrows():
        stage, reason = dropped.get(index, (None, None))
        metrics = {
            "template_dice": 0.81 if index == 9 else round(generator.normal(0.953, 0.005), 4),
            "mutual_information": round(generator.normal(-0.68, 0.02), 4),
            "mask_ml": 1985.0 if index == 5 else round(generator.normal(1420, 110), 1),
            "mask_border_cm2": 0.0,
            "bias_field_cv": round(generator.normal(0.11, 0.01), 5),
            "registration_starts": 1,
            "snr_gm": round(generator.normal(8.1, 0.6), 5),
            "snr_wm": round(generator.normal(17.2, 1.3), 5),
            "cnr": round(generator.normal(2.9, 0.3), 5),
            "cjv": round(generator.normal(0.47, 0.03), 5),
            "efc": round(generator.normal(0.52, 0.02), 5),
            "symmetry": round(generator.normal(0.93, 0.01), 5),
        }
        volumes = {
            f"volume_{name.lower()}_ml": round(size * generator.normal(1, 0.06), 1) for name, size in TISSUES.items()
        }
        record = {"scan_id": scan["scan_id"], "participant_id": scan["participant_id"], "site": scan["site"]}
        record |= {"status": "excluded" if stage else "ok", "stage": stage, "reason": reason}
        record |= dict.fromkeys([*metrics, *volumes]) if stage == "brain_extraction" else metrics | volumes
        quality.append(record)
        folder = scan_folder(results / "preproc", scan["scan_id"])
        outputs = {}
        if stage != "brain_extraction":
            mosaic = folder / mosaic_name(scan["scan_id"])
            _mosaic(mosaic, generator)
            outputs["mosaic"] = {"file": mosaic.name, "sha256": sha256_of(mosaic)}
        write_json(folder / qc_name(scan["scan_id"]), {"scan_id": scan["scan_id"], "status": record["status"],
                   "stage": stage, "reason": reason, "metrics": metrics, "outputs": outputs})  # fmt: skip
    quality = pd.DataFrame(quality)
    for name in [*metrics, *volumes]:
        values = quality[name].astype(float)
        spread = 1.4826 * (values - values.median()).abs().median()
        quality[f"{name}_z"] = ((values - values.median()) / spread).round(3) if spread > 0 else np.nan
    write_table(results / "qc.tsv", quality)
    later = quality.loc[quality["status"] == "excluded", ["participant_id", "scan_id", "stage", "reason"]]
    write_table(results / "exclusions.tsv", pd.concat([ingest, later]))
    kept = scans[~scans["scan_id"].isin(later["scan_id"])].reset_index(drop=True)
    parts = np.array(["train", "held-out", "train", "validation", "held-out"])[np.arange(len(kept)) % 5]
    split = pd.DataFrame({"participant_id": kept["participant_id"], "part": parts, "stratum": "a"})
    write_table(results / "split.tsv", split)
    return kept.assign(part=parts, cohort=cohort)


def _mosaic(path: Path, generator: np.random.Generator) -> None:
    """Four rows of eight ellipses with an outline, of the size of a real mosaic."""
    image = Image.new("RGB", (928, 482), "black")
    draw = ImageDraw.Draw(image)
    for index in range(32):
        left, top = 14 + 116 * (index % 8), 24 + 116 * (index // 8) + int(generator.integers(-3, 3))
        colour = (230, 159, 0) if index < 16 else (86, 180, 233)
        draw.ellipse((left, top, left + 88, top + 104), fill=(120, 120, 120), outline=colour, width=2)
        draw.ellipse((left + 26, top + 34, left + 60, top + 74), fill=(60, 60, 60))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=60, method=0)


def _experiment(folder: Path, settings: dict, cohorts: dict[str, pd.DataFrame], generator: np.random.Generator) -> None:
    own = pd.concat([cohorts[name] for name in settings["cohorts"]])
    others = [cohorts[name].assign(part="external") for name in settings.get("external", [])]
    samples = pd.concat([own, *others], ignore_index=True)
    target = settings["target"] if settings["target"] in samples else None
    samples["target"] = samples[target] if target else np.nan
    columns = ["scan_id", "participant_id", "cohort", "site", "part", "target", "age", "sex"]
    write_table(folder / "samples.tsv", samples[columns])
    flow = []
    for cohort, rows in samples.groupby("cohort", sort=False):
        for step, count in (("ingested", len(rows) + 2), ("preprocessed and of sufficient quality", len(rows))):
            flow.append({"step": step, "scans": count, "participants": count, "cohort": cohort})
    write_table(folder / "flow.tsv", pd.DataFrame(flow))
    epochs = settings["training"]["epochs"]
    train = 3 * np.exp(-np.arange(epochs) / 6) + 0.2 + generator.normal(0, 0.03, epochs)
    validation = 3 * np.exp(-np.arange(epochs) / 7) + 0.45 + generator.normal(0, 0.06, epochs)
    history = pd.DataFrame({"epoch": np.arange(1, epochs + 1), "train_loss": train, "validation_loss": validation,
                            "validation_metric": validation, "learning_rate": 0.003})  # fmt: skip
    history["best"] = (history["validation_loss"] == history["validation_loss"].min()).astype(int)
    write_table(folder / "seed-1" / "history.tsv", history)
    best = int(history.loc[history["best"] == 1, "epoch"].iloc[0])
    write_json(folder / "seed-1" / "run.json", {"network": settings["network"], "parameters": 143217, "epochs_run": epochs,
               "best_epoch": best, "seed": 1, "device": "cpu", "torch": "2.9.0"})  # fmt: skip
    network = {"member": "seed-1", "fold": 0, "seed": 1, "attempts": 1, "epochs": epochs, "best_epoch": best}
    network |= {
        "criterion": 0.5,
        "spread": 0.8,
        "least_spread": 0.1,
        "edge": "",
        "learned": "yes",
        "used": "yes",
        "reason": "",
    }
    write_table(folder / "networks.tsv", pd.DataFrame([network]))
    predicted = samples[samples["part"] != "train"].reset_index(drop=True)
    tested = predicted[["cohort", "part", "scan_id", "participant_id", "site", "age", "sex", "target"]]
    makers = {"regression": _regression, "classification": _classification, "segmentation": _segmentation}
    predictions, baselines, metrics = makers[settings["task"]](tested, generator)
    write_table(folder / "predictions.tsv", predictions)
    for file in ("applied.tsv", "applied_samples.tsv"):
        write_table(folder / file, pd.DataFrame(columns=APPLIED))
    write_table(folder / "baselines.tsv", baselines)
    write_table(folder / "metrics.tsv", pd.DataFrame(metrics))
    _write_details(folder, settings["task"], predictions, baselines, samples)
    if settings["task"] != "segmentation":
        _saliency(folder / "saliency", generator)


def _write_details(
    folder: Path, task: str, predictions: pd.DataFrame, baselines: pd.DataFrame, samples: pd.DataFrame
) -> None:
    """What stands beside the metrics, computed from the drawn predictions."""
    scans = samples[["cohort", "scan_id", "cdr", "dementia"]]
    for name, table in evaluation_tables(
        predictions=predictions,
        baselines=baselines,
        members=predictions.assign(member="seed-1"),
        samples=samples,
        scans={cohort: rows.drop(columns="cohort") for cohort, rows in scans.groupby("cohort")},
        kind=task,
        bootstrap=Bootstrap(RESAMPLES, seed=1),
    ):
        if name != "metrics":
            write_table(folder / f"{name}.tsv", table)


def _saliency(folder: Path, generator: np.random.Generator) -> None:
    """Two maps of noise in a ball, and its mean image."""
    shape = (12, 14, 12)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    mask = (places**2).sum(axis=0) < 0.9
    network, random = ((generator.random(shape) * mask).astype(np.float32) for _ in range(2))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "saliency.npz",
        network=network / network.max(),
        random=random / random.max(),
        mean_image=(80 * mask + 20 * random).astype(np.float32),
        mask=mask.astype(np.uint8),
        affine=np.diag([3.0, 3.0, 3.0, 1.0]),
    )
    write_json(
        folder / "saliency.json",
        {"method": "occlusion", "scans": 8, "part": "held-out", "seed": 1, "correlation": 0.3141,
         "experiment": folder.parent.name, "member": "seed-1"},
    )  # fmt: skip


def _judged(tested: pd.DataFrame) -> pd.DataFrame:
    """What results are told of: all but the validation part, which chose thresholds and lines."""
    return tested[tested["part"] != "validation"]


def _regression(tested: pd.DataFrame, generator: np.random.Generator) -> tuple:
    noisy = {"network": 6.0, "volumes": 9.0}
    tables = {
        name: tested.assign(prediction=tested["target"] + generator.normal(0, size, len(tested)))
        for name, size in noisy.items()
    }
    tables["mean"] = tested.assign(prediction=52.0)
    metrics = []
    for (cohort, part), _ in _judged(tested).groupby(["cohort", "part"]):
        for model, table in tables.items():
            rows = table[(table["cohort"] == cohort) & (table["part"] == part)]
            error = (rows["prediction"] - rows["target"]).to_numpy()
            for metric, value in (
                ("mae", np.abs(error).mean()),
                ("rmse", np.sqrt((error**2).mean())),
                ("r2", 1 - (error**2).mean() / 300),
            ):
                metrics.append(_metric(model, cohort, part, "all", metric, value, 0.22, len(rows)))
        metrics += [
            _metric("network", cohort, part, f"site={site}", "mae", 6.0, 0.4, 4) for site in tested["site"].unique()[:2]
        ]
    return tables["network"], _joined(tables), metrics


def _classification(tested: pd.DataFrame, generator: np.random.Generator) -> tuple:
    def guess(strength: float) -> pd.DataFrame:
        score = strength * (tested["target"] - 0.5) + generator.normal(0, 1, len(tested))
        return tested.assign(prediction=1 / (1 + np.exp(-score)))

    tables = {"network": guess(1.6), "majority": tested.assign(prediction=0.4), "age_sex": guess(2.5)}
    values = {"network": (0.78, 0.15), "majority": (0.5, 0.0), "age_sex": (0.84, 0.12)}
    metrics = [
        _metric(model, "oasis1", "held-out", "all", "auc", value, width, len(_judged(tested)))
        for model, (value, width) in values.items()
    ]
    metrics += [
        _metric(model, "oasis1", "held-out", "all", "balanced_accuracy", value - 0.04, width, len(_judged(tested)))
        for model, (value, width) in values.items()
    ]
    return tables["network"], _joined(tables), metrics


def _segmentation(tested: pd.DataFrame, generator: np.random.Generator) -> tuple:
    def table(level: float) -> pd.DataFrame:
        rows = pd.concat([tested.assign(tissue=tissue, reference_ml=size) for tissue, size in TISSUES.items()])
        rows["reference_ml"] *= generator.normal(1, 0.07, len(rows))
        rows["volume_ml"] = rows["reference_ml"] * generator.normal(1.01, 0.03, len(rows))
        rows["dice"] = np.clip(generator.normal(level, 0.02, len(rows)), 0, 1)
        rows["hd95_mm"] = generator.uniform(1, 4, len(rows)) / level
        rows["assd_mm"] = rows["hd95_mm"] / 4
        rows["surface_dice_1mm"] = rows["dice"] - 0.05
        return rows.assign(empty="no").drop(columns="target")

    tables = {"network": table(0.88), "atlas": table(0.71)}
    metrics = []
    for model, every in tables.items():
        rows, n = _judged(every), len(_judged(tested))
        for name in ("dice", "hd95_mm", "assd_mm", "surface_dice_1mm"):
            metrics.append(_metric(model, "oasis1", "held-out", "all", name, rows[name].mean(), 0.012, n))
            metrics += [
                _metric(model, "oasis1", "held-out", f"tissue={tissue}", name, group[name].mean(), 0.015, n)
                for tissue, group in rows.groupby("tissue")
            ]
    return tables["network"], _joined(tables), metrics


def _metric(model: str, cohort: str, part: str, group: str, metric: str, value: float, width: float, n: int) -> dict:
    return {"model": model, "cohort": cohort, "part": part, "group": group, "metric": metric, "value": value,
            "ci_low": value * (1 - width), "ci_high": value * (1 + width),
            "interval": "percentile" if model == "majority" else "bca", "n": n}  # fmt: skip


def _joined(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    joined = pd.concat([table.assign(model=name) for name, table in tables.items() if name != "network"])
    return joined[["model", *(name for name in joined.columns if name != "model")]]
