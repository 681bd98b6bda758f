# Input: networks of experiments with `task: translation` and packed arrays. Output: predicted images of everybody who is tested,
# their metrics next to baselines without a network, and slices for the report.


rule translate:
    """Predict the images of held-out and external scans, and compare them and baselines of the development part with the true ones."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        packed=lambda w: packed_arrays(all_cohorts(w.experiment), PACKS),
        qc=lambda w: expand("results/{cohort}/qc.tsv", cohort=all_cohorts(w.experiment)),
        splits=lambda w: expand(
            "results/{cohort}/split.tsv", cohort=all_cohorts(w.experiment)
        ),
        weights=lambda w: member_files(w.experiment, "model.safetensors"),
        runs=lambda w: member_files(w.experiment, "run.json"),
    output:
        translation=report(
            "results/experiments/{experiment}/translation.tsv",
            caption="../report/evaluation.rst",
            category="Results",
            subcategory="{experiment}",
            labels={"table": "translation"},
        ),
        scores="results/experiments/{experiment}/scores.tsv",
        networks="results/experiments/{experiment}/networks.tsv",
        examples="results/experiments/{experiment}/examples.npz",
        images=directory("results/experiments/{experiment}/translated"),
    log:
        "logs/translate/{experiment}.log",
    benchmark:
        "benchmarks/translate/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(TRANSLATIONS),
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        code=code_hash("translate"),
        folder=lambda w, output: os.path.dirname(output.translation),
        study=config["study"],
        intervals=json.dumps(config["evaluation"]),
        settings=lambda w: json.dumps(EXPERIMENTS[w.experiment], sort_keys=True),
        device=config["device"],
    shell:
        "neurocohort translate --samples {input.samples} --results results --folder {params.folder} --study {params.study:q}"
        " --intervals {params.intervals:q} --settings {params.settings:q} --device {params.device} {input.weights}"
        " > {log} 2>&1"
