# Input: networks and metrics of an experiment. Output: results/models/<experiment>/, a MONAI bundle.


rule bundle:
    """The networks that the experiment averages, as a MONAI bundle, which predicts with MONAI, torch and nibabel alone."""
    input:
        weights=lambda w: member_files(w.experiment, "model.safetensors"),
        runs=lambda w: member_files(w.experiment, "run.json"),
        samples="results/experiments/{experiment}/samples.tsv",
        metrics="results/experiments/{experiment}/metrics.tsv",
        predictions="results/experiments/{experiment}/predictions.tsv",
        by_member="results/experiments/{experiment}/members.tsv",
        template="results/template.npz",
        network=REGISTRATION_NETWORK if needs_network(PREPROCESSING) else [],
        quality=lambda w: expand(
            "results/{cohort}/qc.tsv", cohort=trained_cohorts(w.experiment)
        ),
        features=lambda w: (
            []
            if segments(w.experiment)
            else member_files(w.experiment, "features.npz")
        ),
    output:
        directory("results/models/{experiment}"),
    log:
        "logs/bundle/{experiment}.log",
    benchmark:
        "benchmarks/bundle/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(10),
    params:
        code=code_hash("bundle"),
        network=lambda w, input: (
            f"--registration-network={input.network}" if input.network else ""
        ),
        configuration=lambda w: json.dumps(
            config
            | {
                "experiments": {
                    name: config["experiments"][name]
                    for name in transfer_chain(config["experiments"], w.experiment)
                }
            },
            sort_keys=True,
        ),
    shell:
        "neurocohort bundle --experiment {wildcards.experiment} --metrics {input.metrics} --samples {input.samples}"
        " --predictions {input.predictions} --by-member {input.by_member} --results results --template {input.template}"
        " --folder {output} --configuration {params.configuration:q} {params.network} {input.weights} > {log} 2>&1"


if not IN_JOB:
    for experiment in STUDIED:
        keep_whole(
            f"results/models/{experiment}", "LICENSE", "configs", "docs", "models"
        )
