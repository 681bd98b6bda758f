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
        values=suggested_values,
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
        values=values_option,
        unlabelled=unlabelled_option,
        launch=lambda w: launcher(training("processes")(w)),
        device=config["device"],
    shell:
        "{params.launch} train --samples {input.samples} --results results --folder {params.folder}"
        " --settings {params.settings:q} --device {params.device} --code {params.code} --known {input.known}"
        " {params.start} {params.values} {params.unlabelled} > {log} 2>&1"


rule suggest:
    """Find the values of the draws of a sweep's next round from the networks of the rounds before it, for each test fold. The
    held-out part is not read."""
    input:
        runs=lambda w: [
            f"results/experiments/{w.experiment}/{draw}/{member}/run.json"
            for one in rounds_of(EXPERIMENTS[w.experiment]["sweep"])[
                : int(w.number) - 1
            ]
            for draw in one.draws
            for member in members_of_fold(w)
        ],
        earlier=lambda w: [
            f"results/experiments/{w.experiment}/{suggestion(number, w.fold.rstrip('_'))}"
            for number in range(1, int(w.number))
        ],
    output:
        "results/experiments/{experiment}/sweep/{fold}round-{number}.json",
    log:
        "logs/suggest/{experiment}/{fold}round-{number}.log",
    benchmark:
        "benchmarks/suggest/{experiment}/{fold}round-{number}.tsv"
    wildcard_constraints:
        fold=r"(test-\d+_)?",
        number=r"\d+",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("suggest"),
        sweep=lambda w: json.dumps(EXPERIMENTS[w.experiment]["sweep"]),
        folder="results/experiments/{experiment}",
        members=members_of_fold,
    shell:
        "neurocohort suggest --folder {params.folder} --sweep {params.sweep:q} --number {wildcards.number} --output {output}"
        " {params.members} > {log} 2>&1"


rule choose:
    """Choose the settings of a sweep with the smallest criterion on the validation part, for each test fold. The held-out part is
    not read."""
    input:
        lambda w: expand(
            "results/experiments/{{experiment}}/{draw}/{member}/run.json",
            draw=draws_of(EXPERIMENTS[w.experiment]["sweep"]),
            member=members(w.experiment),
        ),
        suggestions,
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
        sweep=lambda w: json.dumps(EXPERIMENTS[w.experiment]["sweep"]),
        folder="results/experiments/{experiment}",
        members=lambda w: members(w.experiment),
    shell:
        "neurocohort choose --folder {params.folder} --sweep {params.sweep:q} --output {output} {params.members} > {log} 2>&1"


ruleorder: adopt > train


rule adopt:
    """Copy the network with the chosen settings as the network of the experiment."""
    input:
        sweep="results/experiments/{experiment}/sweep/sweep.tsv",
        weights=lambda w: expand(
            "results/experiments/{{experiment}}/{draw}/{{run}}/{file}",
            draw=final_draws(EXPERIMENTS[w.experiment]["sweep"]),
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


rule tracking:
    """Write the figures of all trainings, their settings and the test results into a database of MLflow."""
    input:
        runs=[f"{folder}/run.json" for folder in all_training_folders()],
        histories=[f"{folder}/history.tsv" for folder in all_training_folders()],
        metrics=expand(
            "results/experiments/{experiment}/metrics.tsv", experiment=EVALUATED
        ),
    output:
        "results/mlflow.db",
    log:
        "logs/tracking.log",
    benchmark:
        "benchmarks/tracking.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(30),
    params:
        code=code_hash("tracking"),
        study=config["study"],
    shell:
        "neurocohort tracking --results results --study {params.study} --output {output} {input.runs} > {log} 2>&1"
