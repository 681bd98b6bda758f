"""Studies that differ in one thing after the other, and what is printed about each: the texts in which the test of the
statements looks for every sentence."""

import copy
import html
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.quality_flags import SMALLEST_COHORT
from neurocohort.evaluation.record import FOLDER, evaluation_of, record_evaluation
from neurocohort.evaluation.segmentation_details import NEITHER, PREDICTION
from neurocohort.evaluation.tables import evaluation_tables
from neurocohort.files import read_json, read_table, write_json, write_table, write_text
from neurocohort.imaging.derivatives import preproc_name
from neurocohort.learning.judgement import LEAST_SPREAD
from neurocohort.report import quality
from neurocohort.report.inputs import file_names
from neurocohort.report.methods import methods
from neurocohort.report.report import write_report
from neurocohort.report.study import Folders, Study, read_study
from neurocohort.sources.sources import store_of
from neurocohort.study.configuration import read_checked
from neurocohort.study.members import all_experiments, members_of, training_settings
from report_fixture import make_study
from statement_pieces import PIECES, ROOT, plans

TASKS = {
    "brain_age": {"kind": "regression", "soft_bins": False, "low": 18.0, "high": 88.0, "mean": 51.2, "scale": 16.0},
    "dementia": {"kind": "classification", "classes": 2, "positive_weight": 1.5, "class_weights": []},
    "tissue": {"kind": "segmentation"},
}


class Scenario:
    """A copy of the small study with a checked configuration that a scenario changes before it is reported."""

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
        """Cohorts from their published addresses, in a study that is no demo."""
        self.config["demo_data"] = False
        for cohort in self.config["cohorts"].values():
            cohort["base_url"] = ""

    def train(self, experiment: str, learned: tuple[str, ...] = (), **run: object) -> None:
        """Records of the experiment's networks, as its configuration asks for; ``learned``: what each of them did."""
        settings, folder = self.experiments[experiment], self.folder(experiment)
        members = members_of(settings, self.config["split"]["folds"])
        history = read_table(folder / "seed-1" / "history.tsv")
        rows = []
        for number, member in enumerate(members):
            answer = learned[number] if learned else "yes"
            own = training_settings({"permutation": 0, **settings}, member)
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
        """Cross-validation of an experiment, whose samples get their folds."""
        self.config["split"]["folds"] = folds
        self.experiments[experiment]["training"] |= {"cross_validation": True}
        path = self.folder(experiment) / "samples.tsv"
        samples = read_table(path)
        development = samples["part"].isin(("train", "validation"))
        fold = pd.Series(np.arange(len(samples)) % folds + 1, dtype="Int64").where(development)
        write_table(path, samples.assign(fold=fold))

    def edit(self, file: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        path = self.root / file
        write_table(path, change(read_table(path)))

    def evaluate(self, experiment: str, members: int = 1) -> None:
        """The tables beside the predictions, made again from these."""
        folder, settings = self.folder(experiment), self.experiments[experiment]
        names = ("predictions", "baselines", "samples")
        tables = {name: read_table(folder / f"{name}.tsv") for name in names}
        copies = [tables["predictions"].assign(member=f"seed-{number + 1}") for number in range(members)]
        scans = {cohort: read_table(self.root / "data" / cohort / "scans.tsv") for cohort in self.config["cohorts"]}
        made = evaluation_tables(
            **tables, members=pd.concat(copies), scans=scans, kind=settings["task"], resamples=40, seed=1
        )
        for name, table in made:
            write_table(folder / f"{name}.tsv", table)

    def record(self, experiment: str) -> None:
        """An entry in the record of evaluations for the networks that are there now."""
        settings = all_experiments({experiment: self.experiments[experiment]})[experiment]
        members = members_of(settings, self.config["split"]["folds"])
        evaluation = evaluation_of(self.results, self.config["study"], experiment, settings, members)
        record_evaluation(self.root / FOLDER, evaluation, read_table(self.folder(experiment) / "predictions.tsv"))

    def develop(self, experiment: str) -> None:
        """Out-of-fold predictions of those who were trained on, as cross-validation leaves them; ages that pair up."""
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
        """The study of what the scenario left, with its packages in the lock."""
        lock = self.root / "envs" / "requirements.txt"
        if lock.is_file():
            lock.write_text("".join(f"{name}=={version}\n" for name, version in self.packages))
        folders = Folders(self.results, self.root / "data", self.root / "benchmarks", lock)
        return read_study(folders, self.config, command)

    def page(self, command: str = "snakemake --cores 2") -> str:
        """Everything that the report's pages and its methods text say."""
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


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Every scenario's name and what it prints."""
    original = folder / "original"
    make_study(original, participants=20)
    for make in PAGES:
        yield make.__name__, make(Scenario(original, folder / make.__name__))
    for option, change in OPTIONS.items():
        scenario = Scenario(original, folder / option)
        change(scenario)
        yield option, scenario.text()
    for name, say in PIECES.items():
        yield name, "\n".join(say())
    yield from plans(folder)


def by_kind(printed: dict[str, str]) -> list[list[str]]:
    """The texts of the scenarios, those of a kind together: pages, methods texts, plans, and the rest."""
    kinds: dict[str, list[str]] = {}
    pages = {make.__name__ for make in PAGES}
    for name, text in printed.items():
        kind = "page" if name in pages else "methods" if name in OPTIONS else name.partition("_")[0]
        kinds.setdefault(kind, []).append(text)
    return list(kinds.values())


def whole(scenario: Scenario) -> str:
    """The demo, nothing missing, one network an experiment; its code is committed, and the packages are those of the lock."""
    for name in scenario.experiments:
        scenario.evaluate(name)
        scenario.record(name)
    scenario.edit("results/experiments/brain_age/flow.tsv", lambda flow: with_step(flow, "with a value of age", 0))
    hashed = lambda samples: samples.assign(voxels_sha256=samples["scan_id"])  # noqa: E731
    for name in scenario.experiments:
        scenario.edit(f"results/experiments/{name}/samples.tsv", hashed)
    scenario.volumes()
    for cohort in scenario.config["cohorts"].values():
        for name in file_names(cohort):
            write_text(scenario.root / "resources" / store_of(cohort) / name, "an archive")
    return scenario.page()


def folded(scenario: Scenario) -> str:
    """Published cohorts, cross-validated, two seeds; a network of the brain age left out, one trained again."""
    scenario.real()
    experiments = scenario.experiments
    for name in experiments:
        scenario.fold(name, 3)
        experiments[name]["training"]["seeds"] = [1, 2]
    experiments["brain_age"] |= {
        "control": "shuffled_target",
        "transfer": {"weights": "dementia", "frozen_epochs": 3, "thaw_epochs": 2},
    }
    experiments["brain_age"]["network"] |= {"soft_bins": True, "norm": "group"}
    experiments["dementia"]["sweep"] = {"values": {"training.learning_rate": [0.1, 0.2]}, "draws": 0, "seed": 1}
    draws = [
        {
            "draw": f"sweep/draw-0{n}",
            "training.learning_rate": n,
            "validation_loss": 1.0,
            "criterion": 1.0,
            "chosen": n - 1,
        }
        for n in (1, 2)
    ]
    write_table(scenario.folder("dementia") / "sweep" / "sweep.tsv", pd.DataFrame(draws))
    for name in experiments:
        learned = ("no", *["yes"] * 5)
        bins = {"task": TASKS[name] | {"soft_bins": True}} if name == "brain_age" else {}
        scenario.train(name, learned if name == "brain_age" else (), **bins)
        if name != "tissue":
            scenario.develop(name)
        scenario.evaluate(name, members=2)
        scenario.record(name)
    write_text(scenario.folder("brain_age") / "fold-1_seed-1" / "model.safetensors", "other weights")
    scenario.record("brain_age")
    write_text(scenario.root / FOLDER / "notes.json", "{}")
    scenario.edit("results/experiments/brain_age/networks.tsv", lambda table: table.assign(attempts=[2] * len(table)))
    control = {"holds": True, "sentence": "Trained on permuted targets the network is at chance on the true ones: 1."}
    write_json(scenario.folder("brain_age") / "control.json", control)
    second = {"participant_id": "sub-IXI012", "scan_id": "sub-IXI012_ses-2", "session_id": "ses-2"}
    scenario.edit("data/ixi/scans.tsv", lambda scans: pd.concat([scans, scans.head(1).assign(**second)]))
    return scenario.page()


def given_weights(scenario: Scenario) -> str:
    """A start from a file of one's own, on a GPU, in an environment that is not the lock's."""
    scenario.real()
    scenario.experiments["brain_age"]["transfer"] = {
        "weights": "/models/other.safetensors",
        "frozen_epochs": 0,
        "thaw_epochs": 0,
    }
    scenario.config["cohorts"]["ixi"] |= {"base_url": "/mirror"}
    for name, keep in zip(scenario.experiments, ("last", "averaged", "best"), strict=True):
        scenario.experiments[name]["training"]["keep"] = keep
        scenario.train(name, device="NVIDIA A100", torch="2.8.0")
    program = scenario.root / "bin" / "nvidia-smi"
    write_text(program, "#!/bin/sh\necho NVIDIA A100, 550.1\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return scenario.page()


def damaged(scenario: Scenario) -> str:
    """Something on two sides of the split, and files that are not there."""
    folder = scenario.folder("brain_age")

    def leak(samples: pd.DataFrame) -> pd.DataFrame:
        tested = samples[samples["part"] == "held-out"].head(1)
        again = samples[samples["part"] == "train"].head(1).assign(fold=lambda rows: rows["fold"] % 3 + 1)
        return pd.concat([samples, again, tested.assign(part="train", scan_id=samples["scan_id"].iloc[-1])])

    scenario.fold("brain_age", 3)
    scenario.edit("results/experiments/brain_age/samples.tsv", leak)
    scenario.edit("data/ixi/scans.tsv", lambda scans: scans.assign(voxels_sha256="0" * 64))
    scenario.edit("results/oasis1/split.tsv", lambda split: split.assign(part="train"))
    for file in ("comparisons.tsv", "metrics.tsv"):
        (folder / file).unlink()
    (scenario.folder("dementia") / "networks.tsv").unlink()
    (scenario.folder("dementia") / "seed-1" / "run.json").unlink()
    (scenario.root / "data" / "oasis1" / "scans.tsv").unlink()
    shutil.rmtree(scenario.root / "benchmarks")
    return scenario.page(command="")


def untold(scenario: Scenario) -> str:
    """No network learned anything; no site, and nobody excluded."""
    scenario.real()
    for name in scenario.experiments:
        scenario.train(name, ("no",), best_epoch=0)
        scenario.edit(f"results/experiments/{name}/samples.tsv", lambda samples: samples.assign(site=np.nan))
    for name in scenario.experiments:
        scenario.edit(f"results/experiments/{name}/seed-1/history.tsv", lambda history: history.assign(best=0))
    for name in scenario.experiments:
        scenario.edit(f"results/experiments/{name}/samples.tsv", lambda samples: samples.assign(age=np.nan))
    for cohort in scenario.config["cohorts"]:
        scenario.edit(f"data/{cohort}/scans.tsv", lambda scans: scans.assign(age=np.nan))
        names = ("exclusions.tsv", "notes.tsv")
        for file in (f"{folder}/{cohort}/{name}" for folder in ("data", "results") for name in names):
            scenario.edit(file, lambda table: table.head(0))
    scenario.edit("results/experiments/brain_age/predictions.tsv", lambda rows: rows[rows["part"] != "validation"])
    scenario.edit("results/experiments/brain_age/baselines.tsv", lambda rows: rows[rows["part"] != "validation"])
    scenario.evaluate("brain_age")
    return scenario.page()


def three_classes(scenario: Scenario) -> str:
    """Three classes of CDR; its probabilities, and a saliency map that says nothing."""
    scenario.real()
    experiment = scenario.experiments["dementia"]
    experiment |= {"target": "cdr", "classes": [0, 0.5, [1, 2]]}
    folder, generator = "results/experiments/dementia", np.random.default_rng(3)

    def classes(rows: pd.DataFrame) -> pd.DataFrame:
        shares = generator.dirichlet(np.ones(3), len(rows))
        rows = rows.assign(target=np.arange(len(rows)) % 3, prediction=shares.argmax(axis=1))
        return rows.assign(**{f"probability_{code}": shares[:, code] for code in range(3)})

    network = classes(read_table(scenario.root / folder / "predictions.tsv"))
    write_table(scenario.root / folder / "predictions.tsv", network)
    others = pd.concat(
        [classes(network).assign(model=name, target=network["target"]) for name in ("majority", "voxel_svm")]
    )
    write_table(scenario.root / folder / "baselines.tsv", others)
    scenario.edit(f"{folder}/samples.tsv", lambda samples: samples.assign(target=np.arange(len(samples)) % 3))
    scenario.train("dementia", task={"kind": "classification", "classes": 3, "class_weights": [1.0, 1.0, 1.0]})
    scenario.evaluate("dementia")
    record = scenario.folder("dementia") / "saliency" / "saliency.json"
    write_json(record, read_json(record) | {"correlation": None})
    return scenario.page()


def one_of_three_classes(scenario: Scenario) -> str:
    """Three classes, of which the held-out part has one."""
    scenario.experiments["dementia"] |= {"target": "cdr", "classes": [0, 0.5, [1, 2]]}
    shares = {f"probability_{code}": share for code, share in enumerate((0.5, 0.3, 0.2))}
    for file in ("predictions", "baselines"):
        scenario.edit(
            f"results/experiments/dementia/{file}.tsv", lambda rows: rows.assign(target=0, prediction=0, **shares)
        )
    scenario.evaluate("dementia")
    return scenario.page()


def one_class(scenario: Scenario) -> str:
    """A held-out part of one class, and a segmentation that misses a tissue."""
    scenario.real()
    for file in ("predictions", "baselines"):
        scenario.edit(f"results/experiments/dementia/{file}.tsv", lambda rows: rows.assign(target=1))
    scenario.evaluate("dementia")
    scenario.edit(
        "results/experiments/tissue/predictions.tsv",
        lambda rows: rows.assign(volume_ml=rows["volume_ml"].mask(rows["tissue"] == "CSF", 0.0)),
    )
    scenario.edit(
        "results/experiments/tissue/predictions.tsv",
        lambda rows: rows.assign(empty=np.where(rows["tissue"] == "CSF", PREDICTION, NEITHER)),
    )
    scenario.evaluate("tissue")
    return scenario.page()


def no_curve(scenario: Scenario) -> str:
    """A table of curves without the ROC curve; scans of equal voxels; many excluded of one kind."""
    scenario.real()
    scenario.edit("results/experiments/dementia/curves.tsv", lambda rows: rows[rows["curve"] != "roc"])
    scans = read_table(scenario.root / "data" / "ixi" / "scans.tsv").sort_values("age")
    lost = scans.tail(8)[["participant_id", "scan_id"]].assign(stage="quality", reason="old")
    scenario.edit("results/ixi/exclusions.tsv", lambda rows: pd.concat([rows, lost]))
    mixed = read_table(scenario.root / "data" / "oasis1" / "scans.tsv").iloc[[2, 8, 14]]
    lost_too = mixed[["participant_id", "scan_id"]].assign(stage="quality", reason="any")
    scenario.edit("results/oasis1/exclusions.tsv", lambda rows: pd.concat([rows.head(2), lost_too]))
    return scenario.page()


def prepared(scenario: Scenario) -> str:
    """Cohorts of one's own that come skull-stripped, one of them in MNI space and with a split of its own, the other with the
    numbers of a handful of scans."""

    def of_a_few(table: pd.DataFrame) -> pd.DataFrame:
        scores = {name: np.nan for name in table if name.endswith("_z")}
        return table.head(SMALLEST_COHORT - 1).assign(**scores)

    scenario.edit("results/oasis1/qc.tsv", of_a_few)
    scenario.config["demo_data"] = False
    own = {"source": "table", "path": "scans.csv", "skull_stripped": True, "mni_space": True, "modalities": ["T1w"]}
    native = own | {"source": "bids", "mni_space": False}
    scenario.config["cohorts"] = {"ixi": own | {"split_file": "split.tsv"}, "oasis1": native}
    return scenario.page()


def unusual(scenario: Scenario) -> str:
    """Every quality number of one scan unusually low, of another unusually high, with the advice for each."""
    scenario.real()

    def extreme(table: pd.DataFrame) -> pd.DataFrame:
        for name in (*quality.LOW, *quality.HIGH):
            table[name] = np.linspace(1.0, 1.1, len(table))
            table[f"{name}_z"] = np.linspace(-1.0, 1.0, len(table))
            table.loc[0, f"{name}_z"], table.loc[1, f"{name}_z"] = -9.0, 9.0
        return table.assign(unknown=1.0, unknown_z=[12.0, *[0.0] * (len(table) - 1)])

    scenario.edit("results/ixi/qc.tsv", extreme)
    return scenario.page()


def only_age(scenario: Scenario) -> str:
    """One regression on one cohort of one site, without an external one; hundreds of participants would be held out."""
    return _only(scenario, "brain_age")


def only_dementia(scenario: Scenario) -> str:
    return _only(scenario, "dementia")


def only_tissue(scenario: Scenario) -> str:
    return _only(scenario, "tissue")


def _only(scenario: Scenario, name: str) -> str:
    scenario.real()
    scenario.config["experiments"] = {name: scenario.experiments[name] | {"external": []}}
    (cohort,) = scenario.experiments[name]["cohorts"]
    scenario.config["cohorts"] = {cohort: scenario.config["cohorts"][cohort]}
    for file in ("samples", "predictions", "baselines"):
        scenario.edit(
            f"results/experiments/{name}/{file}.tsv", lambda rows: rows[rows["part"] != "external"].assign(site="one")
        )
    scenario.evaluate(name)
    scenario.edit(f"results/experiments/{name}/flow.tsv", lambda flow: flow[flow["cohort"] == cohort])
    return scenario.page()


def fails_outside(scenario: Scenario) -> str:
    """A network that shrinks to the mean, loses to a baseline, and doesn't carry to the external cohort."""
    scenario.real()
    generator = np.random.default_rng(1)

    def shrunk(rows: pd.DataFrame) -> pd.DataFrame:
        noise = generator.normal(0, 1, len(rows))
        at_home, outside = 53 + 0.3 * (rows["target"] - 53) + noise, 140 + 10 * noise
        return rows.assign(prediction=at_home.where(rows["part"] != "external", outside))

    def close(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(prediction=rows["prediction"].where(rows["model"] != "volumes", rows["target"]))

    scenario.edit("results/experiments/brain_age/predictions.tsv", shrunk)
    scenario.edit("results/experiments/brain_age/baselines.tsv", close)
    scenario.evaluate("brain_age")
    return scenario.page()


def lost(scenario: Scenario) -> str:
    """A run of which next to nothing is left."""
    scenario.real()
    for path in [*scenario.results.rglob("*.tsv"), *scenario.results.rglob("*.json")]:
        path.unlink()
    for path in scenario.results.rglob("*.webp"):
        path.unlink()
    (scenario.root / "envs" / "requirements.txt").unlink()
    return scenario.page()


PAGES = (
    whole,
    folded,
    given_weights,
    damaged,
    untold,
    three_classes,
    one_of_three_classes,
    one_class,
    no_curve,
    prepared,
)
PAGES += (unusual,)
PAGES += (only_age, only_dementia, only_tissue, fails_outside, lost)


def with_step(flow: pd.DataFrame, step: str, lost: int) -> pd.DataFrame:
    """The flow with one more step of each cohort, at which so many scans were lost."""
    last = flow.groupby("cohort", sort=False).tail(1)
    more = last.assign(step=step, scans=last["scans"] - lost, participants=last["participants"] - lost)
    return pd.concat([flow, more]).sort_values("cohort", kind="stable")


def training(**values: object) -> Callable[[Scenario], None]:
    """Training keys of the dementia experiment."""

    def change(scenario: Scenario) -> None:
        scenario.experiments["dementia"]["training"] |= values
        scenario.train("dementia")

    return change


def preprocessing(**values: object) -> Callable[[Scenario], None]:
    return lambda scenario: scenario.config["preprocessing"].update(values)


def _augmentation_off(scenario: Scenario) -> None:
    off = dict.fromkeys(scenario.experiments["dementia"]["training"]["augmentation"], 0.0) | {"flip": False}
    training(augmentation=off)(scenario)


def _modalities(scenario: Scenario) -> None:
    scenario.real()
    scenario.config["cohorts"]["ixi"]["modalities"] = ["T1w", "T2w"]


def _patches(scenario: Scenario) -> None:
    scenario.experiments["tissue"]["training"]["patch"] = [32, 32, 32]
    scenario.experiments["tissue"]["network"]["name"] = "dynunet"
    scenario.train("tissue")


def _elsewhere(scenario: Scenario) -> None:
    paths = {"path": "a.nii.gz", "dseg_path": "b.nii.gz", "dseg_reference_path": "c.nii.gz"}
    scenario.edit("data/oasis1/scans.tsv", lambda scans: scans.assign(**paths))


def _lacking(scenario: Scenario) -> None:
    for name, step in (("brain_age", "with a value of age"), ("tissue", "with a reference segmentation")):
        scenario.edit(f"results/experiments/{name}/flow.tsv", lambda flow, step=step: with_step(flow, step, 2))


def _several_starts(scenario: Scenario) -> None:
    scenario.edit("results/ixi/qc.tsv", lambda table: table.assign(registration_starts=2))


def _plain_regression(scenario: Scenario) -> None:
    scenario.real()
    scenario.experiments["brain_age"]["external"] = []
    scenario.config["quality"]["max_outlier_z"] = 6.0
    scenario.edit(
        "results/experiments/brain_age/baselines.tsv",
        lambda rows: pd.concat([rows, rows[rows["model"] == "mean"].assign(model="voxel_ridge")]),
    )
    scenario.config["experiments"] = {"brain_age": scenario.experiments["brain_age"]}


def _two_networks(scenario: Scenario) -> None:
    scenario.experiments["brain_age"]["training"]["seeds"] = [1, 2]
    scenario.train("brain_age", ("no", "yes"))
    record = scenario.folder("brain_age") / "seed-2" / "run.json"
    write_json(record, read_json(record) | {"best_epoch": 9})


def _all_in_space(scenario: Scenario) -> None:
    own = {"source": "table", "path": "scans.csv", "skull_stripped": True, "mni_space": True, "modalities": ["T1w"]}
    scenario.config["cohorts"] = {"ixi": own, "oasis1": own}


OPTIONS = {
    "all_in_space": _all_in_space,
    "two_networks": _two_networks,
    "averaged": training(keep="averaged"),
    "last": training(keep="last"),
    "patience": training(patience=9),
    "cosine": training(schedule="cosine"),
    "no_augmentation": _augmentation_off,
    "synthstrip": preprocessing(brain_extraction="synthstrip", intensity="zscore"),
    "deformable": preprocessing(registration="deformable", intensity="white_matter_peak"),
    "modalities": _modalities,
    "patches": _patches,
    "elsewhere": _elsewhere,
    "lacking": _lacking,
    "several_starts": _several_starts,
    "plain_regression": _plain_regression,
}
