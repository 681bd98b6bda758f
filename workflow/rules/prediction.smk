# Input: networks of an experiment and all packed arrays. Output: predictions and features of each member, the average of the
# predictions, networks.tsv with the outcome of each network, saliency maps, and the importance of atlas regions.

APPLIED_MODELS = expand(
    "results/applied_models/{model}/{file}",
    model=MODELS,
    file=("predictions.tsv", "metrics.tsv", "notes.tsv", "model.json"),
)
SALIENCY_MAPS = [
    f"results/experiments/{name}/saliency/saliency.npz"
    for name in STUDIED
    if not segments(name) and config["saliency"]["method"] != "none"
]
REGIONS = [
    f"results/experiments/{name}/regions.tsv"
    for name in STUDIED
    if not segments(name) and config["saliency"].get("regions")
]


rule predict:
    """Apply one trained network to the validation, held-out and external scans; its features, also of the training scans."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        applied="results/experiments/{experiment}/applied_samples.tsv",
        packed=lambda w: packed_arrays(all_cohorts(w.experiment), PACKS),
        weights="results/experiments/{experiment}/{run}/model.safetensors",
        run="results/experiments/{experiment}/{run}/run.json",
    output:
        predictions="results/experiments/{experiment}/{run}/predictions.tsv",
        features="results/experiments/{experiment}/{run}/features.npz",
        applied="results/experiments/{experiment}/{run}/applied.tsv",
    log:
        "logs/predict/{experiment}/{run}.log",
    benchmark:
        "benchmarks/predict/{experiment}/{run}.tsv"
    wildcard_constraints:
        experiment=one_of(name for name in EVALUATED if not segments(name)),
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(120),
    params:
        code=code_hash("predict-samples"),
        folder=lambda w, input: os.path.dirname(input.weights),
        spacing_mm=SPACING_MM,
        options=lambda w, input, output: (
            f"--features={output.features} --applied-samples={input.applied} --applied={output.applied}"
        ),
        device=config["device"],
    shell:
        "neurocohort predict-samples --samples {input.samples} --results results --model {params.folder} --output {output.predictions}"
        " --spacing-mm {params.spacing_mm} {params.options} --device {params.device} > {log} 2>&1"


use rule predict as predict_segmentation with:
    output:
        predictions="results/experiments/{experiment}/{run}/predictions.tsv",
        probabilities=temp("results/experiments/{experiment}/{run}/probabilities.npy"),
    wildcard_constraints:
        experiment=one_of(name for name in EXPERIMENTS if segments(name)),
    params:
        code=code_hash("predict-samples"),
        folder=lambda w, input: os.path.dirname(input.weights),
        spacing_mm=SPACING_MM,
        options=lambda w, output: f"--probabilities={output.probabilities}",
        device=config["device"],


rule ensemble:
    """Average the predictions of the members that learned something; also one table of all predictions and one of all networks."""
    input:
        members=lambda w: member_files(w.experiment, "predictions.tsv"),
        applied=lambda w: member_files(w.experiment, "applied.tsv"),
        runs=lambda w: member_files(w.experiment, "run.json"),
    output:
        predictions="results/experiments/{experiment}/predictions.tsv",
        members="results/experiments/{experiment}/members.tsv",
        networks="results/experiments/{experiment}/networks.tsv",
        applied="results/experiments/{experiment}/applied.tsv",
    log:
        "logs/ensemble/{experiment}.log",
    benchmark:
        "benchmarks/ensemble/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(name for name in EVALUATED if not segments(name)),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("ensemble"),
        folder=lambda w, output: os.path.dirname(output.predictions),
    shell:
        "neurocohort ensemble --folder {params.folder} --applied {output.applied} {input.members} > {log} 2>&1"


rule ensemble_segmentation:
    """Label maps from the mean probabilities of the members, on the study's grid and on each scan's own grid."""
    input:
        members=lambda w: member_files(w.experiment, "predictions.tsv"),
        runs=lambda w: member_files(w.experiment, "run.json"),
        probabilities=lambda w: member_files(w.experiment, "probabilities.npy"),
        samples="results/experiments/{experiment}/samples.tsv",
        packed=lambda w: packed_arrays(all_cohorts(w.experiment), PACKS),
        qc=lambda w: expand("results/{cohort}/qc.tsv", cohort=all_cohorts(w.experiment)),
    output:
        predictions="results/experiments/{experiment}/predictions.tsv",
        members="results/experiments/{experiment}/members.tsv",
        networks="results/experiments/{experiment}/networks.tsv",
        label_maps=directory("results/experiments/{experiment}/label_maps"),
    log:
        "logs/ensemble/{experiment}.log",
    benchmark:
        "benchmarks/ensemble/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(name for name in EXPERIMENTS if segments(name)),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(120),
    params:
        code=code_hash("ensemble_segmentation"),
        folder=lambda w, output: os.path.dirname(output.predictions),
        spacing_mm=SPACING_MM,
        lesions=lambda w: " ".join(
            f"--lesions={name}"
            for name in EXPERIMENTS[w.experiment].get("lesions") or ()
        ),
    shell:
        "neurocohort ensemble-segmentation --folder {params.folder} --results results --spacing-mm {params.spacing_mm}"
        " {params.lesions} {input.members} > {log} 2>&1"


rule saliency:
    """Saliency map of the first network that learned something, over held-out scans, and that of random weights."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        packed=lambda w: packed_arrays(
            trained_cohorts(w.experiment), PACKS if TEST_FOLDS else ["held-out"]
        ),
        template="results/template.npz",
        weights=lambda w: member_files(w.experiment, "model.safetensors"),
        runs=lambda w: member_files(w.experiment, "run.json"),
    output:
        maps="results/experiments/{experiment}/saliency/saliency.npz",
        record="results/experiments/{experiment}/saliency/saliency.json",
    log:
        "logs/saliency/{experiment}.log",
    benchmark:
        "benchmarks/saliency/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(name for name in EVALUATED if not segments(name)),
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        code=code_hash("saliency"),
        folder=lambda w, output: os.path.dirname(output.maps),
        settings=json.dumps(
            {
                key: value
                for key, value in config["saliency"].items()
                if key != "regions"
            }
        ),
        device=config["device"],
    shell:
        "neurocohort saliency --samples {input.samples} --results results --template {input.template}"
        " --folder {params.folder} --settings {params.settings:q} --device {params.device} {input.weights} > {log} 2>&1"


rule regions:
    """Importance of atlas regions for an experiment's networks over held-out scans, beside random weights and permuted targets."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        packed=lambda w: packed_arrays(all_cohorts(w.experiment), PACKS),
        template="results/template.npz",
        atlas=atlas_files(),
        weights=lambda w: member_files(w.experiment, "model.safetensors"),
        runs=lambda w: member_files(w.experiment, "run.json"),
        controls=lambda w: control_files(w, "model.safetensors"),
        control_runs=lambda w: control_files(w, "run.json"),
        # Not read: the evaluation is on record before its result can be seen.
        metrics="results/experiments/{experiment}/metrics.tsv",
        control_metrics=control_metrics,
    output:
        table="results/experiments/{experiment}/regions.tsv",
        record="results/experiments/{experiment}/regions.json",
    log:
        "logs/regions/{experiment}.log",
    benchmark:
        "benchmarks/regions/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(name for name in STUDIED if not segments(name)),
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(480),
    params:
        code=code_hash("regions"),
        folder=lambda w, output: os.path.dirname(output.table),
        task=lambda w: EXPERIMENTS[w.experiment]["task"],
        intervals=json.dumps(config["evaluation"]),
        settings=json.dumps(
            {key: config["saliency"].get(key) for key in ("regions", "seed")}
        ),
        controls=lambda w, input: " ".join(
            f"--control={path}" for path in input.controls
        ),
        device=config["device"],
    shell:
        "neurocohort regions --samples {input.samples} --results results --template {input.template} --folder {params.folder}"
        " --task {params.task} --intervals {params.intervals:q} --settings {params.settings:q} --device {params.device}"
        " {params.controls} {input.weights} > {log} 2>&1"


rule apply_model:
    """Apply a model of another study to the scans of this study's cohorts: predictions with flags, metrics, notes."""
    input:
        bundle=lambda w: model_files(w.model),
        template="results/template.npz",
        scans=lambda w: expand("data/{cohort}/scans.tsv", cohort=model_cohorts(w.model)),
        qc=lambda w: expand("results/{cohort}/qc.tsv", cohort=model_cohorts(w.model)),
    output:
        predictions="results/applied_models/{model}/predictions.tsv",
        metrics="results/applied_models/{model}/metrics.tsv",
        notes="results/applied_models/{model}/notes.tsv",
        model="results/applied_models/{model}/model.json",
    log:
        "logs/apply_model/{model}.log",
    benchmark:
        "benchmarks/apply_model/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(4000),
        runtime=by_attempt(120),
    params:
        code=code_hash("apply-model"),
        path=lambda w: MODELS[w.model]["bundle"],
        folder=lambda w, output: os.path.dirname(output.predictions),
        settings=lambda w: ApplySettings.taken_from(
            config["evaluation"], MODELS[w.model]
        ).as_json(),
        cohorts=lambda w: model_cohorts(w.model),
        device=config["device"],
    shell:
        "neurocohort apply-model --bundle {params.path:q} --data data --results results --template {input.template}"
        " --folder {params.folder} --settings {params.settings:q} --device {params.device} {params.cohorts} > {log} 2>&1"


if not IN_JOB:
    for experiment in filter(segments, EXPERIMENTS):
        keep_whole(f"results/experiments/{experiment}/label_maps", "volumes.tsv")
