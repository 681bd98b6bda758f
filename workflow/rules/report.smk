# Input: all results. Output: results/report/ with index.html, which opens from disk without a network.

# If the workflow is a module from a remote address, this is the copy that Snakemake keeps.
LOCK = (
    Path(workflow.current_basedir).parents[1] / "envs" / "requirements.txt"
    if workflow.current_basedir.is_local
    else workflow.source_path("../../envs/requirements.txt")
)


rule report:
    """The report: main results compared with baselines, participants, quality, training, results, provenance."""
    input:
        metrics=expand(
            "results/experiments/{experiment}/metrics.tsv",
            experiment=STUDIED,
        ),
        pretrainings=[
            f"results/experiments/{name}/{member}/{file}"
            for name in pretrainings(config["experiments"])
            for member in members(name)
            for file in ("run.json", "history.tsv")
        ],
        controls=[
            f"results/experiments/{name}/control.json"
            for name, experiment in EXPERIMENTS.items()
            if experiment.get("control")
        ],
        without_sites=without_sites("shift.tsv"),
        learning_curves=[
            f"results/experiments/{name}/learning_curve.tsv"
            for name in config["experiments"]
            if points_of(name)
        ],
        adaptations=[
            f"results/experiments/{name}/adaptation.tsv"
            for name in config["experiments"]
            if new_sites_of(name)
        ],
        few_labels=[
            f"results/experiments/{name}/few_labels.tsv"
            for name, experiment in config["experiments"].items()
            if learns_unlabelled(experiment)
        ],
        generation=[
            f"results/experiments/{name}/{file}"
            for name in GENERATING
            for file in ("generation.tsv", "generation/examples.npz")
        ],
        counterfactual=[
            f"results/experiments/{name}/{file}"
            for name in COUNTERFACTUAL
            for file in ("counterfactual.tsv", "generation/counterfactual.npz")
        ],
        translations=[
            f"results/experiments/{name}/{file}"
            for name in TRANSLATIONS
            for file in ("translation.tsv", "networks.tsv", "examples.npz")
        ],
        translation_runs=[
            f"results/experiments/{name}/{member}/{file}"
            for name in TRANSLATIONS
            for member in members(name)
            for file in ("run.json", "history.tsv")
        ],
        saliency=SALIENCY_MAPS,
        regions=REGIONS,
        applied_models=APPLIED_MODELS,
        longitudinal=LONGITUDINAL,
        qc=expand("results/{cohort}/qc.tsv", cohort=COHORTS),
        notes=expand(NOTES, cohort=COHORTS),
        given_notes=list(GIVEN_NOTES.values()),
        lock=LOCK,
    output:
        report(
            directory("results/report"),
            htmlindex="index.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "the whole report"},
        ),
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        code=code_hash("report"),
        configuration=json.dumps(config, sort_keys=True),
    shell:
        "neurocohort report --data data --results results --benchmarks benchmarks --lock {input.lock:q}"
        " --output {output} --configuration {params.configuration:q} > {log} 2>&1"


if not IN_JOB:
    keep_whole(
        "results/report",
        "index.html",
        "methods.md",
        "provenance.json",
        "report.zip",
        "ro-crate-metadata.json",
        "subjects",
    )
