# Input: tables of the cohorts, and features of an experiment's networks. Output: for each longitudinal analysis, the predictions of
# networks over the sessions of a participant and of their baselines, with metrics and paired differences.

LONGITUDINAL = [
    f"results/longitudinal/{name}/{table}.tsv"
    for name in ANALYSES
    for table in ("metrics", "comparisons", "predictions", "flow", "history", "notes")
]


rule longitudinal:
    """Networks over the sessions of each participant and their baselines: trained, fitted, and applied to held-out participants."""
    input:
        tables=lambda w: cohort_tables(ANALYSES[w.analysis]["cohorts"]),
        features=session_features,
        runs=session_networks,
        learned=lambda w: list(learned_samples(w).values()),
    output:
        predictions="results/longitudinal/{analysis}/predictions.tsv",
        sessions="results/longitudinal/{analysis}/sessions.tsv",
        flow="results/longitudinal/{analysis}/flow.tsv",
        history="results/longitudinal/{analysis}/history.tsv",
        notes="results/longitudinal/{analysis}/notes.tsv",
        weights="results/longitudinal/{analysis}/networks.safetensors",
    log:
        "logs/longitudinal/{analysis}.log",
    benchmark:
        "benchmarks/longitudinal/{analysis}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(120),
    params:
        code=code_hash("longitudinal"),
        folder=lambda w, output: os.path.dirname(output.predictions),
        settings=lambda w: json.dumps(ANALYSES[w.analysis], sort_keys=True),
        options=lambda w: shlex.join(
            [f"--features={path}" for path in session_features(w)]
            + [f"--learned={name}={path}" for name, path in learned_samples(w).items()]
        ),
    shell:
        "neurocohort longitudinal --data data --results results --folder {params.folder} --settings {params.settings:q}"
        " {params.options} > {log} 2>&1"


rule longitudinal_metrics:
    """Metrics of each model of a longitudinal analysis, and each network minus each baseline, with intervals."""
    input:
        predictions="results/longitudinal/{analysis}/predictions.tsv",
        weights="results/longitudinal/{analysis}/networks.safetensors",
        splits=lambda w: expand(
            "results/{cohort}/split.tsv", cohort=ANALYSES[w.analysis]["cohorts"]
        ),
    output:
        metrics=report(
            "results/longitudinal/{analysis}/metrics.tsv",
            caption="../report/evaluation.rst",
            category="Results",
            subcategory="{analysis}",
            labels={"table": "metrics"},
        ),
        comparisons="results/longitudinal/{analysis}/comparisons.tsv",
    log:
        "logs/longitudinal_metrics/{analysis}.log",
    benchmark:
        "benchmarks/longitudinal_metrics/{analysis}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(30),
    params:
        code=code_hash("longitudinal-metrics"),
        folder=lambda w, input: os.path.dirname(input.predictions),
        study=config["study"],
        intervals=json.dumps(config["evaluation"]),
        settings=lambda w: json.dumps(ANALYSES[w.analysis], sort_keys=True),
    shell:
        "neurocohort longitudinal-metrics --folder {params.folder} --results results --study {params.study:q}"
        " --intervals {params.intervals:q} --settings {params.settings:q} > {log} 2>&1"
