"""A small study that a scenario changes, and the text of its report."""

import copy
import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from neurocohort.evaluation.baseline_inputs import with_inputs
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.record import FOLDER, evaluation_of, record_evaluation
from neurocohort.evaluation.tables import evaluation_tables, with_given
from neurocohort.files import read_json, read_table, write_json, write_table
from neurocohort.imaging.derivatives import preproc_name
from neurocohort.learning.judgement import LEAST_SPREAD
from neurocohort.report.methods import methods
from neurocohort.report.report import write_report
from neurocohort.report.study import Folders, Study, read_study
from neurocohort.study.configuration import read_checked
from neurocohort.study.members import all_experiments, members_of, training_settings
from statement_pieces import ROOT

TASKS = {
    "brain_age": {"kind": "regression", "soft_bins": False, "low": 18.0, "high": 88.0, "mean": 51.2, "scale": 16.0},
    "dementia": {"kind": "classification", "classes": 2, "positive_weight": 1.5, "class_weights": []},
    "tissue": {"kind": "segmentation"},
}


class Scenario:
    """A copy of the small study with a checked configuration. A scenario changes it before the report is written."""

    def __init__(self, original: Path, root: Path):
        ignored = shutil.ignore_patterns("report")
        shutil.copytree(original, root, ignore=ignored)
        self.root, self.results = root, root / "results"
        self.config = copy.deepcopy(read_checked([ROOT / "config" / "config.yaml"]))
        self.config["experiments"]["brain_age"] |= {"cohorts": ["ixi"], "external": ["oasis1"], "filter": ""}
        self.packages = [("snakemake", "9.27.1"), ("torch", "2.9.0"), ("numpy", "2.4.6"), ("jinja2", "3.1.6")]
        for name in self.experiments:
            self.train(name)

    @property
    def experiments(self) -> dict:
        return self.config["experiments"]

    def folder(self, experiment: str) -> Path:
        return self.results / "experiments" / experiment

    def real(self) -> None:
        """Take the cohorts from their published addresses, in a study that is not the demo."""
        self.config["demo_data"] = False
        for cohort in self.config["cohorts"].values():
            cohort["base_url"] = ""

    def train(self, experiment: str, learned: tuple[str, ...] = (), **run: object) -> None:
        """Write the records of the networks that the configuration asks for; ``learned``: whether each of them learned."""
        settings, folder = self.experiments[experiment], self.folder(experiment)
        members = members_of(settings, self.config["split"]["folds"], self.config["split"]["test_folds"])
        history = read_table(folder / "seed-1" / "history.tsv")
        rows = []
        for number, member in enumerate(members):
            answer = learned[number] if learned else "yes"
            own = training_settings({"permutation": 0, **settings}, member).as_dict()
            record = {"settings": own, "task": TASKS[experiment], "parameters": 4321, "epochs_run": 12, "best_epoch": 7}
            record |= {"seed": own["seed"], "device": "cpu", "precision": "float32", "torch": "2.9.0"}
            record |= {"learning": {"learned": answer == "yes"}, **run}
            write_json(folder / member / "run.json", record)
            (folder / member / "model.safetensors").write_bytes(f"{experiment} {member}".encode())
            write_table(folder / member / "history.tsv", history)
            row = {
                "member": member,
                "fold": own["fold"],
                "seed": own["seed"],
                "attempts": 1,
                "epochs": 12,
                "best_epoch": 7,
            }
            row |= {
                "criterion": 0.5,
                "spread": 0.4,
                "least_spread": LEAST_SPREAD[TASKS[experiment]["kind"]],
                "edge": "",
                "learned": answer,
            }
            used = "no" if answer == "no" and "yes" in learned else "yes"
            rows.append(row | {"used": used, "reason": ""})
        write_table(folder / "networks.tsv", pd.DataFrame(rows))

    def fold(self, experiment: str, folds: int) -> None:
        """Switch to cross-validation, and assign the samples to folds."""
        self.config["split"]["folds"] = folds
        self.experiments[experiment]["training"] |= {"cross_validation": True}
        path = self.folder(experiment) / "samples.tsv"
        samples = read_table(path)
        development = samples["part"].isin(("train", "validation"))
        fold = pd.Series(np.arange(len(samples)) % folds + 1, dtype="Int64").where(development)
        write_table(path, samples.assign(fold=fold))

    def hold_everybody_out(self, test_folds: int) -> None:
        """Put everybody into one of the test folds, and predict the validation scans in the others."""
        self.config["split"]["test_folds"] = test_folds
        number = {}
        for path in self.results.glob("*/split.tsv"):
            split = read_table(path)
            fold = pd.Series(np.arange(len(split)) % test_folds + 1, dtype="Int64")
            number |= dict(zip(split["participant_id"], fold, strict=True))
            write_table(path, split.assign(part=split["part"].replace("held-out", "validation"), test_fold=fold))
        for name in self.experiments:
            for file in ("samples", "predictions", "baselines"):
                path = self.folder(name) / f"{file}.tsv"
                table = read_table(path)
                fold = table["participant_id"].map(number).astype("Int64")
                table = table.assign(test_fold=fold.where(table["part"] != "external"))
                if file == "samples":
                    table["part"] = table["part"].replace("held-out", "validation")
                else:
                    chosen = table[table["part"] != "external"].assign(part="validation")
                    each = [
                        chosen[chosen["test_fold"] != one].assign(test_fold=one) for one in range(1, test_folds + 1)
                    ]
                    table = pd.concat([table[table["part"] != "validation"], *(each if name != "tissue" else [])])
                write_table(path, table)

    def edit(self, file: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        path = self.root / file
        write_table(path, change(read_table(path)))

    def evaluate(self, experiment: str, members: int = 1) -> None:
        """Recompute the tables of the evaluation from the predictions."""
        folder, settings = self.folder(experiment), self.experiments[experiment]
        names = ("predictions", "baselines", "samples")
        tables = {name: read_table(folder / f"{name}.tsv") for name in names}
        if settings.get("predictors"):
            tables["baselines"] = with_given(tables["baselines"], read_table(folder / "predictors.tsv"))
        if (folder / "baseline_inputs.tsv").is_file():
            tables["samples"] = with_inputs(tables["samples"], read_table(folder / "baseline_inputs.tsv"))
        copies = [tables["predictions"].assign(member=f"seed-{number + 1}") for number in range(members)]
        scans = {cohort: read_table(self.root / "data" / cohort / "scans.tsv") for cohort in self.config["cohorts"]}
        made = evaluation_tables(
            **tables, members=pd.concat(copies), scans=scans, kind=settings["task"], bootstrap=Bootstrap(40, 1)
        )
        for name, table in made:
            write_table(folder / f"{name}.tsv", table)

    def record(self, experiment: str) -> None:
        """Add the current networks to the record of evaluations."""
        settings = all_experiments({experiment: self.experiments[experiment]})[experiment]
        members = members_of(settings, self.config["split"]["folds"], self.config["split"]["test_folds"])
        evaluation = evaluation_of(self.results, self.config["study"], experiment, settings, members)
        record_evaluation(self.root / FOLDER, evaluation, read_table(self.folder(experiment) / "predictions.tsv"))

    def develop(self, experiment: str) -> None:
        """Add out-of-fold predictions of the training participants, as with cross-validation; all ages are equal."""
        folder, generator = self.folder(experiment), np.random.default_rng(2)
        trained = read_table(folder / "samples.tsv").query("part == 'train'").assign(part="validation")
        for name in ("predictions", "baselines"):
            table = read_table(folder / f"{name}.tsv")
            models = table["model"].unique() if "model" in table else [None]
            more = []
            for model in models:
                guess = trained["target"] + generator.normal(0, 0.1, len(trained))
                more.append(trained.assign(prediction=guess.clip(0.01, 90), **({"model": model} if model else {})))
            table = pd.concat([table, *more], ignore_index=True)[list(table)]
            write_table(folder / f"{name}.tsv", table.assign(age=60.0))

    def volumes(self) -> None:
        """A preprocessed image for each scan, for the viewers of two of them."""
        self.config["report"]["viewers"] = 8
        data = np.zeros((12, 12, 12), np.float32)
        data[3:9, 3:9, 3:9] = 0.5
        for path in self.results.glob("*/preproc/**/*_qc.json"):
            record = read_json(path)
            name = preproc_name(record["scan_id"], "T1w")
            nib.save(nib.Nifti1Image(data, np.eye(4) * 3), path.parent / name)
            write_json(path, record | {"outputs": record["outputs"] | {"preproc_T1w": {"file": name}}})
            cohort, scan_id = path.relative_to(self.results).parts[0], record["scan_id"]
            label_map = (
                self.folder("tissue") / "label_maps" / cohort / f"{scan_id}_space-MNI152NLin2009aSym_dseg.nii.gz"
            )
            if cohort == "oasis1":
                label_map.parent.mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image((data > 0).astype(np.uint8), np.eye(4) * 3), label_map)

    def text(self) -> str:
        """The methods text and the model cards, without the page."""
        return methods(self.study()).markdown

    def study(self, command: str = "") -> Study:
        """The study with the scenario's files, and its packages in the lock file."""
        lock = self.root / "envs" / "requirements.txt"
        if lock.is_file():
            lock.write_text("".join(f"{name}=={version}\n" for name, version in self.packages))
        folders = Folders(self.results, self.root / "data", self.root / "benchmarks", lock)
        return read_study(folders, self.config, command)

    def page(self, command: str = "snakemake --cores 2") -> str:
        """The text of the report's pages, and the methods text."""
        output = self.results / "report"
        write_report(self.study(command), output)
        pages = [output / "index.html", *sorted(output.glob("subjects/*/*.html"))]
        tables = [path.read_text() for path in output.glob("tables/*_details.tsv")]
        return "\n".join(
            [*(page_text(path.read_text()) for path in pages), (output / "methods.md").read_text(), *tables]
        )


def page_text(source: str) -> str:
    """The text of a page, a line a block, alternative texts of its figures too."""
    source = re.sub(r"<(style|script|template)\b.*?</\1>", "", source, flags=re.DOTALL)
    source = re.sub(r'\balt="([^"]*)"', r">\n\1\n<", source)
    source = re.sub(
        r"</?(?:p|li|h\d|td|th|dt|dd|figcaption|caption|summary|section|div|article|ul|ol|tr|title)\b[^>]*>",
        "\n",
        source,
    )
    return "\n".join(" ".join(line.split()) for line in html.unescape(re.sub(r"<[^>]*>", "", source)).split("\n"))


def with_step(flow: pd.DataFrame, step: str, lost: int) -> pd.DataFrame:
    """The flow with one more step of each cohort, which leaves out ``lost`` scans."""
    last = flow.groupby("cohort", sort=False).tail(1)
    more = last.assign(step=step, scans=last["scans"] - lost, participants=last["participants"] - lost)
    return pd.concat([flow, more]).sort_values("cohort", kind="stable")
