# Input and parameter functions of experiments: their cohorts, samples, networks and predictions.


def trained_cohorts(experiment):
    return EXPERIMENTS[experiment]["cohorts"]


def all_cohorts(experiment):
    return trained_cohorts(experiment) + EXPERIMENTS[experiment]["external"]


def class_column(wildcards):
    """Column of the classes that the split balances: the target of the first classification that uses the cohort."""
    targets = [
        experiment["target"]
        for experiment in EXPERIMENTS.values()
        if experiment["task"] == "classification"
        and wildcards.cohort in experiment["cohorts"]
    ]
    return targets[0] if targets else "dementia"


def cohort_tables(cohorts):
    """Tables that the selection of samples reads."""
    names = [
        "data/{}/scans.tsv",
        "results/{}/qc.tsv",
        "results/{}/split.tsv",
    ]
    return [name.format(cohort) for cohort in cohorts for name in names]


def selection_settings(experiment, **own):
    """Settings of the selection of an experiment's samples. A control permutes its targets."""
    settings = EXPERIMENTS[experiment]
    permutation = settings["permutation"]
    shuffled = (
        {"shuffle_seed": config["split"]["seed"] + permutation} if permutation else {}
    )
    if settings.get("own_participants"):
        own = own | {"participants_seed": config["split"]["seed"]}
    if "drawn_for" in settings:
        own = own | {"drawn_for": settings["drawn_for"]}
    return SelectionSettings.taken_from(
        config["split"], settings, **own, **shuffled
    ).as_json()


def split_files_of(experiment):
    """`split_files` of each cohort that the experiment trains on."""
    return {cohort: split_files(cohort) for cohort in trained_cohorts(experiment)}


@functools.cache
def training_conditions(experiment):
    """Hash of the settings and the code between the ingested scans and the trainings of an experiment."""
    cohorts = {
        cohort: [preprocess_settings(of_cohort), channels_of(of_cohort)]
        for cohort in trained_cohorts(experiment)
        for of_cohort in [SimpleNamespace(cohort=cohort)]
    }
    grid = [PREPROCESSING["spacing_mm"], PREPROCESSING["shape"]]
    names = ("template", "quality", "split", "pack", "select")
    rules = [code_hash(name) for name in names]
    selection = selection_settings(experiment, external=[], development=True)
    found = [cohorts, grid, config["quality"], config["split"], selection, rules]
    text = json.dumps(found, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def training_folders(experiment):
    """The folders of all trainings of an experiment."""
    draws = draws_of(EXPERIMENTS[experiment]["sweep"])
    runs = [
        f"{draw}/{member}" for draw in (draws or [""]) for member in members(experiment)
    ]
    return [Path(f"results/experiments/{experiment}/{run.lstrip('/')}") for run in runs]


# The database of all trainings, if one is wanted.
TRACKING = ["results/mlflow.db"] if config.get("tracking") and EXPERIMENTS else []


def suggested_values(wildcards):
    """The file with the values of a training's draw, where its sweep has rounds."""
    draw, member = os.path.split(wildcards.run)
    rounds = rounds_of(EXPERIMENTS[wildcards.experiment]["sweep"])
    found = [one.number for one in rounds if draw in one.draws]
    folder = f"results/experiments/{wildcards.experiment}"
    return [
        f"{folder}/{suggestion(number, run_name(member).left_out)}" for number in found
    ]


def values_option(wildcards):
    """The options of `neurocohort train` that replace settings by those of a draw of a sweep in rounds."""
    draw = os.path.dirname(wildcards.run)
    return " ".join(
        f"--values {path} --draw {draw}" for path in suggested_values(wildcards)
    )


def members_of_fold(wildcards):
    """The networks of a draw that leave out the test fold of `wildcards.fold`, such as test-1_; all without test folds."""
    own = wildcards.fold.rstrip("_")
    return [
        one for one in members(wildcards.experiment) if run_name(one).left_out == own
    ]


def suggestions(wildcards):
    """The files with the values of all draws of a sweep in rounds."""
    rounds = rounds_of(EXPERIMENTS[wildcards.experiment]["sweep"])
    folds = dict.fromkeys(
        run_name(one).left_out for one in members(wildcards.experiment)
    )
    folder = f"results/experiments/{wildcards.experiment}"
    return [
        f"{folder}/{suggestion(one.number, fold)}" for fold in folds for one in rounds
    ]


def all_training_folders():
    """The folders of the trainings of all experiments."""
    return [folder for name in EXPERIMENTS for folder in training_folders(name)]


def networks_that_stay(experiment):
    """The record of the scans that an experiment's networks were trained on, if they stay although scans were added; else None."""
    if config["new_scans"] == "retrain":
        return None
    records = [folder / RECORD for folder in training_folders(experiment)]
    tables = [
        Path(f"data/{cohort}/{table}.tsv")
        for cohort in trained_cohorts(experiment)
        for table in ("scans", "batches")
    ]
    records = [path for path in records if path.is_file()]
    if not records or not all(path.is_file() for path in tables):
        return None
    files = [*records, *(path.with_name(WEIGHTS) for path in records), *tables]
    return record_in(experiment, *(modified_ns(path) for path in files))


def modified_ns(path):
    """Time stamp of a file; 0 if there is none."""
    return path.stat().st_mtime_ns if path.is_file() else 0


@functools.cache
def record_in(experiment, *times_ns):
    """`kept_record` of an experiment, read again when one of the time stamps of its files has changed."""
    known = known_scans(
        Path("data"), trained_cohorts(experiment), split_files_of(experiment)
    )
    return kept_record(
        training_folders(experiment), known, training_conditions(experiment)
    )


def after_ingest(wildcards):
    """No files, but a job with this input is examined again after the ingest of the cohorts to train on."""
    for cohort in trained_cohorts(wildcards.experiment):
        batches_of(cohort)
    return []


def unless_networks_stay(experiment, files):
    """``files``, which a training reads; if its networks stay, newer files are no reason to train again."""
    if networks_that_stay(experiment):
        return [ancient(file) for file in files]
    return files


def trained_option(wildcards):
    """The option with the record of the networks that stay; empty if there is none."""
    record = networks_that_stay(wildcards.experiment)
    return f"--trained={record}" if record else ""


def packed_arrays(cohorts, packs):
    return [
        f"results/{cohort}/packed/{pack}/{file}"
        for cohort in cohorts
        for pack in packs
        for file in ("images.npy", "labels.npy", "index.tsv", "channels.tsv")
    ]


def test_fold_of(wildcards):
    """The test fold that a table of training samples leaves out, as a setting; none without test folds."""
    return {"test_fold": int(wildcards.test.rpartition("-")[2])} if TEST_FOLDS else {}


def training_samples(wildcards, file="samples.tsv"):
    """The samples that a training reads, or another ``file`` next to them."""
    test = TEST_FOLD.format(run_name(wildcards.run).test_fold)
    path = f"results/experiments/{wildcards.experiment}/{TRAINING_FOLDER.format(test=test)}/{file}"
    return unless_networks_stay(wildcards.experiment, [path])


def unlabelled_samples(experiment):
    """The scans that the trainings of an experiment learn from without a label map; nothing for others."""
    if not learns_unlabelled(EXPERIMENTS[experiment]):
        return []
    return [f"results/experiments/{experiment}/training/unlabelled.tsv"]


def unlabelled_option(wildcards):
    """These scans as an option; empty if there are none."""
    found = unlabelled_samples(wildcards.experiment)
    return f"--unlabelled={found[0]}" if found else ""


def training_arrays(wildcards):
    """The packed scans that a training reads."""
    packs = development_packs(TEST_FOLDS, run_name(wildcards.run).test_fold)
    arrays = packed_arrays(trained_cohorts(wildcards.experiment), packs)
    return unless_networks_stay(wildcards.experiment, arrays)


def training(key):
    return lambda w: EXPERIMENTS[w.experiment]["training"][key]


def segments(experiment):
    return EXPERIMENTS[experiment]["task"] == "segmentation"


def structures_of_experiment(wildcards):
    """The names of the structures that a segmentation predicts; None for CSF, GM and WM, and for other tasks."""
    return structures_to_learn(EXPERIMENTS[wildcards.experiment], COHORTS)


def class_count(wildcards):
    return len(EXPERIMENTS[wildcards.experiment].get("classes") or [0, 1])


def given_tables(wildcards):
    """Tables of predictions that other tools made for the experiment."""
    given = EXPERIMENTS[wildcards.experiment].get("predictors") or {}
    return [predictor["file"] for predictor in given.values()]


def members(experiment):
    return members_of(EXPERIMENTS[experiment], config["split"]["folds"], TEST_FOLDS)


def member_files(experiment, file):
    return [
        f"results/experiments/{experiment}/{member}/{file}"
        for member in members(experiment)
    ]


def transfer_file(experiment):
    """Weights file that the trainings start from, from the user or downloaded; empty if there is none."""
    transfer = EXPERIMENTS[experiment].get("transfer") or {}
    weights = transfer.get("weights") or ""
    if weights == PUBLISHED:
        return published_path(transfer)
    return weights if weights.endswith(".safetensors") else ""


def pretraining_samples(experiment):
    """What each pretraining that an experiment starts from learned from, as ``NAME=PATH``."""
    tests = [TEST_FOLD.format(number) for number in range(1, TEST_FOLDS + 1)] or [""]
    return [
        f"{name}=results/experiments/{name}/{TRAINING_FOLDER.format(test=test)}/samples.tsv"
        for name in pretrained_from(EXPERIMENTS, experiment)
        for test in tests
    ]


def transfer_fraction(experiment):
    """The part of the published image that the grid covers, for trainings that go back to published weights."""
    if not starts_published(EXPERIMENTS, experiment):
        return None
    return grid_fraction(PREPROCESSING["shape"], SPACING_MM)


def transfer_networks(wildcards, file):
    """``file`` of the networks of another experiment that a training can start from, in order of preference. The training
    uses the first one that learned something."""
    transfer = EXPERIMENTS[wildcards.experiment].get("transfer") or {}
    source = transfer.get("weights")
    if not source or transfer_file(wildcards.experiment):
        return []
    names = starting_members(
        EXPERIMENTS[source], config["split"]["folds"], wildcards.run, TEST_FOLDS
    )
    return [f"results/experiments/{source}/{name}/{file}" for name in names]
