# Input: networks, predictions and samples. Output: predictions of the baselines, metrics.tsv and the other result tables, with an
# interval for each value, and a record of what was evaluated.

EVALUATION = (
    "metrics",
    "comparisons",
    "details",
    "curves",
    "confusion",
    "shift",
    "spread",
    "repeatability",
    "intervals",
    "evaluation_notes",
)


rule baselines:
    """Baselines that a network must beat, fitted only on the training part; with cross-validation, out of fold like the network."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        qc=lambda w: expand("results/{cohort}/qc.tsv", cohort=all_cohorts(w.experiment)),
        packed=lambda w: packed_arrays(all_cohorts(w.experiment), PACKS),
    output:
        baselines="results/experiments/{experiment}/baselines.tsv",
        inputs="results/experiments/{experiment}/baseline_inputs.tsv",
    log:
        "logs/baselines/{experiment}.log",
    benchmark:
        "benchmarks/baselines/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        code=code_hash("baselines"),
        settings=lambda w: BaselineSettings.taken_from(
            EXPERIMENTS[w.experiment],
            classes=class_count(w),
            structures=structures_of_experiment(w),
            folds=config["split"]["folds"] if training("cross_validation")(w) else 0,
            seed=training("seeds")(w)[0],
            spacing_mm=SPACING_MM,
            tissue_maps=PREPROCESSING["tissue_maps"],
            harmonisation=config["evaluation"]["harmonisation"],
        ).as_json(),
    shell:
        "neurocohort baselines --samples {input.samples} --results results --output {output.baselines}"
        " --inputs {output.inputs}"
        " --settings {params.settings:q} > {log} 2>&1"


rule predictors:
    """Predictions that other tools made of the experiment's scans, with notes on scans without a value and on doubtful values."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        tables=given_tables,
    output:
        predictions="results/experiments/{experiment}/predictors.tsv",
        notes="results/experiments/{experiment}/notes.tsv",
    log:
        "logs/predictors/{experiment}.log",
    benchmark:
        "benchmarks/predictors/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("predictors"),
        settings=lambda w: PredictorSettings.taken_from(
            EXPERIMENTS[w.experiment],
            folds=config["split"]["folds"] if training("cross_validation")(w) else 0,
        ).as_json(),
    shell:
        "neurocohort predictors --samples {input.samples} --output {output.predictions} --notes {output.notes}"
        " --settings {params.settings:q} > {log} 2>&1"


# The record of evaluations is not a declared output: Snakemake deletes outputs before a rerun, and the record must be complete.
rule metrics:
    """Metrics of the network and every baseline with 95 % intervals from resampling participants, and secondary results."""
    input:
        predictions="results/experiments/{experiment}/predictions.tsv",
        members="results/experiments/{experiment}/members.tsv",
        networks="results/experiments/{experiment}/networks.tsv",
        baselines="results/experiments/{experiment}/baselines.tsv",
        inputs="results/experiments/{experiment}/baseline_inputs.tsv",
        predictors=lambda w: (
            f"results/experiments/{w.experiment}/predictors.tsv"
            if given_tables(w)
            else []
        ),
        samples="results/experiments/{experiment}/samples.tsv",
        applied="results/experiments/{experiment}/applied_samples.tsv",
        scans=lambda w: expand(
            "data/{cohort}/scans.tsv", cohort=all_cohorts(w.experiment)
        ),
        splits=lambda w: expand(
            "results/{cohort}/split.tsv", cohort=all_cohorts(w.experiment)
        ),
        weights=lambda w: member_files(w.experiment, "model.safetensors"),
        heads=lambda w: (
            member_files(w.experiment, "run.json")
            if EXPERIMENTS[w.experiment].get("auxiliary")
            else []
        ),
        features=lambda w: (
            []
            if segments(w.experiment)
            else member_files(w.experiment, "features.npz")
        ),
    output:
        [
            report(
                f"results/experiments/{{experiment}}/{table}.tsv",
                caption="../report/evaluation.rst",
                category="Results",
                subcategory="{experiment}",
                labels={"table": table},
            )
            for table in EVALUATION
        ],
    log:
        "logs/metrics/{experiment}.log",
    benchmark:
        "benchmarks/metrics/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(60),
    params:
        code=code_hash("evaluate"),
        folder=lambda w, input: os.path.dirname(input.predictions),
        study=config["study"],
        intervals=json.dumps(config["evaluation"]),
        settings=lambda w: json.dumps(EXPERIMENTS[w.experiment], sort_keys=True),
        members=lambda w: members(w.experiment),
    shell:
        "neurocohort evaluate --folder {params.folder} --data data --results results --study {params.study:q}"
        " --intervals {params.intervals:q} --settings {params.settings:q} {params.members} > {log} 2>&1"


rule control:
    """Check that the controls of the experiment, trained on permuted targets, are at chance."""
    input:
        control_metrics,
    output:
        "results/experiments/{experiment}/control.json",
    log:
        "logs/control/{experiment}.log",
    benchmark:
        "benchmarks/control/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("control"),
        task=lambda w: EXPERIMENTS[w.experiment]["task"],
    shell:
        "neurocohort control --output {output} --task {params.task} {input} > {log} 2>&1"


rule few_labels:
    """A segmentation with and without scans that have no label map, compared on the same held-out participants."""
    input:
        lambda w: [
            f"results/experiments/{name}/{file}"
            for name in (w.experiment, labels_only_name(w.experiment))
            # The metrics are not read: the evaluation of each is on record before its result can be seen.
            for file in ("predictions.tsv", "networks.tsv", "metrics.tsv")
        ],
    output:
        "results/experiments/{experiment}/few_labels.tsv",
    log:
        "logs/few_labels/{experiment}.log",
    benchmark:
        "benchmarks/few_labels/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("few-labels"),
        intervals=json.dumps(config["evaluation"]),
        labels_only=lambda w: labels_only_name(w.experiment),
    shell:
        "neurocohort few-labels --output {output} --results results --intervals {params.intervals:q}"
        " --experiment {wildcards.experiment} --labels-only {params.labels_only} > {log} 2>&1"


rule learning_curve:
    """Networks applied as they are, fine-tuned and trained from random weights with more and more participants, compared on the same
    held-out participants."""
    input:
        predictions=lambda w: learning_curve_files(w, "predictions.tsv"),
        samples=lambda w: learning_curve_files(w, "samples.tsv"),
        networks=lambda w: learning_curve_files(w, "networks.tsv"),
        # Not read: the evaluation of each point is on record before its result can be seen.
        metrics=lambda w: learning_curve_files(w, "metrics.tsv"),
        applied=lambda w: [
            f"results/experiments/{source}/predictions.tsv"
            for source in applied_source(config["experiments"], w.experiment)[:1]
            if source
        ],
    output:
        "results/experiments/{experiment}/learning_curve.tsv",
    log:
        "logs/learning_curve/{experiment}.log",
    benchmark:
        "benchmarks/learning_curve/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("learning-curve"),
        task=lambda w: EXPERIMENTS[w.experiment]["task"],
        intervals=json.dumps(config["evaluation"]),
        points=lambda w: json.dumps(
            [dataclasses.asdict(point) for point in points_of(w.experiment)]
        ),
        applied=applied_option,
    shell:
        "neurocohort learning-curve --output {output} --results results --task {params.task}"
        " --intervals {params.intervals:q} --points {params.points:q} {params.applied:q} > {log} 2>&1"
