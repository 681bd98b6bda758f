# Input: samples of an experiment and packed development parts. Output: one network per member (test fold, fold and seed).


# The checkpoint is not a declared output, because Snakemake deletes outputs of a failed job. The retry continues from it.
rule train:
    """Train one network and choose its epoch on the validation part. An interrupted training continues from its checkpoint. A
    network that learned nothing is trained again with another seed."""
    input:
        ingested=after_ingest,
        samples=training_samples,
        known=lambda w: training_samples(w, "known_scans.json"),
        unlabelled=lambda w: unless_networks_stay(
            w.experiment, unlabelled_samples(w.experiment)
        ),
        packed=training_arrays,
        weights=lambda w: transfer_file(w.experiment) or [],
        start=lambda w: transfer_networks(w, "model.safetensors"),
        start_runs=lambda w: transfer_networks(w, "run.json"),
    output:
        weights="results/experiments/{experiment}/{run}/model.safetensors",
        history=report(
            "results/experiments/{experiment}/{run}/history.tsv",
            caption="../report/history.rst",
            category="Training",
            subcategory="{experiment}",
            labels={"network": "{run}"},
        ),
        run="results/experiments/{experiment}/{run}/run.json",
    log:
        "logs/train/{experiment}/{run}.log",
    benchmark:
        "benchmarks/train/{experiment}/{run}.tsv"
    priority: TRAINING
    retries: 2
    conda:
        ENVIRONMENT
    threads: lambda w: training("threads")(w) * training("processes")(w)
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=training("processes") if GPU else 0,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(720),
    params:
        code=code_hash("train"),
        folder=lambda w, output: os.path.dirname(output[0]),
        # Not from `input`: Snakemake doesn't rerun for a change in a value that is made from it.
        settings=lambda w: training_settings(
            EXPERIMENTS[w.experiment],
            w.run,
            weights=transfer_file(w.experiment),
            fraction=transfer_fraction(w.experiment),
            structures=structures_of_experiment(w),
            intensity=PREPROCESSING["intensity"],
        ).as_json(),
        start=lambda w: shlex.join(
            f"--start={path}" for path in transfer_networks(w, "model.safetensors")
        ),
        unlabelled=unlabelled_option,
        launch=lambda w: launcher(training("processes")(w)),
        device=config["device"],
    shell:
        "{params.launch} train --samples {input.samples} --results results --folder {params.folder}"
        " --settings {params.settings:q} --device {params.device} --code {params.code} --known {input.known}"
        " {params.start} {params.unlabelled} > {log} 2>&1"


rule choose:
    """Choose the settings of a sweep with the smallest criterion on the validation part, for each test fold. The held-out part is
    not read."""
    input:
        lambda w: expand(
            "results/experiments/{{experiment}}/{draw}/{member}/run.json",
            draw=draws_of(EXPERIMENTS[w.experiment]["sweep"]),
            member=members(w.experiment),
        ),
    output:
        "results/experiments/{experiment}/sweep/sweep.tsv",
    log:
        "logs/choose/{experiment}.log",
    benchmark:
        "benchmarks/choose/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("choose"),
        draws=lambda w: json.dumps(draws_of(EXPERIMENTS[w.experiment]["sweep"])),
        folder="results/experiments/{experiment}",
        members=lambda w: members(w.experiment),
    shell:
        "neurocohort choose --folder {params.folder} --draws {params.draws:q} --output {output} {params.members} > {log} 2>&1"


ruleorder: adopt > train


rule adopt:
    """Copy the network with the chosen settings as the network of the experiment."""
    input:
        sweep="results/experiments/{experiment}/sweep/sweep.tsv",
        weights=lambda w: expand(
            "results/experiments/{{experiment}}/{draw}/{{run}}/{file}",
            draw=draws_of(EXPERIMENTS[w.experiment]["sweep"]),
            file=["model.safetensors", "history.tsv", "run.json"],
        ),
    output:
        weights="results/experiments/{experiment}/{run}/model.safetensors",
        history=report(
            "results/experiments/{experiment}/{run}/history.tsv",
            caption="../report/history.rst",
            category="Training",
            subcategory="{experiment}",
            labels={"network": "{run}"},
        ),
        run="results/experiments/{experiment}/{run}/run.json",
    log:
        "logs/adopt/{experiment}/{run}.log",
    benchmark:
        "benchmarks/adopt/{experiment}/{run}.tsv"
    wildcard_constraints:
        experiment=one_of(name for name in EXPERIMENTS if EXPERIMENTS[name]["sweep"]),
        run=MEMBER_PATTERN,
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("adopt"),
        folder=lambda w, input: os.path.dirname(os.path.dirname(input.sweep)),
    shell:
        "neurocohort adopt --sweep {input.sweep} --folder {params.folder} --member {wildcards.run} > {log} 2>&1"
