# Input: networks of experiments with `adaptation`, and predictions of the experiments that they are compared with. Output: predictions
# with batch statistics of the new sites, and the comparison at these sites.

ADAPTED = adapted_cohorts(config["experiments"])


rule adapt:
    """Predict the scans of new sites with batch statistics that are recomputed from these scans, without their labels."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        packed=lambda w: packed_arrays(ADAPTED[w.experiment], PACKS),
        weights=lambda w: member_files(w.experiment, "model.safetensors"),
        runs=lambda w: member_files(w.experiment, "run.json"),
    output:
        "results/experiments/{experiment}/adapted.tsv",
    log:
        "logs/adapt/{experiment}.log",
    benchmark:
        "benchmarks/adapt/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(ADAPTED),
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        code=code_hash("adapt"),
        cohorts=lambda w: " ".join(f"--cohort={one}" for one in ADAPTED[w.experiment]),
        device=config["device"],
    shell:
        "neurocohort adapt --samples {input.samples} --results results --output {output} --device {params.device}"
        " {params.cohorts} {input.weights} > {log} 2>&1"


rule adaptation:
    """Ways to adapt networks to sites that they were not trained on, each compared with its reference on the same scans."""
    input:
        predictions=lambda w: new_site_files(w, "predictions.tsv"),
        networks=lambda w: new_site_files(w, "networks.tsv"),
        baselines=lambda w: reference_files(w, "baselines.tsv"),
        adapted=lambda w: (
            reference_files(w, "adapted.tsv") if recomputes(w.experiment) else []
        ),
        # Not read: the evaluation of each experiment is on record before its result can be seen.
        metrics=lambda w: new_site_files(w, "metrics.tsv"),
    output:
        "results/experiments/{experiment}/adaptation.tsv",
    log:
        "logs/adaptation/{experiment}.log",
    benchmark:
        "benchmarks/adaptation/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(30),
    params:
        code=code_hash("adaptation"),
        task=lambda w: EXPERIMENTS[w.experiment]["task"],
        intervals=json.dumps(config["evaluation"]),
        sites=lambda w: json.dumps(
            [dataclasses.asdict(place) for place in new_sites_of(w.experiment)]
        ),
        batch_norm=lambda w: (
            "--batch-norm" if recomputes(w.experiment) else "--no-batch-norm"
        ),
    shell:
        "neurocohort adaptation --output {output} --results results --task {params.task}"
        " --intervals {params.intervals:q} --sites {params.sites:q} {params.batch_norm} > {log} 2>&1"
