# Needs an experiment's samples and the development packs. Leaves a network a member: a fold and seed, chosen by a sweep if asked.


# The checkpoint lies in no declared output, since those of a failed job are deleted; a retry goes on from it.
rule train:
    """One network, its epoch chosen on the validation part; killed, it goes on from its checkpoint. A network that learned nothing
    is trained again with another seed."""
    input:
        samples="results/experiments/{experiment}/training/samples.tsv",
        packed=lambda w: packed_arrays(trained_cohorts(w.experiment), ["development"]),
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
            EXPERIMENTS[w.experiment], w.run, weights=transfer_file(w.experiment)
        ).as_json(),
        start=lambda w: shlex.join(
            f"--start={path}" for path in transfer_networks(w, "model.safetensors")
        ),
        launch=lambda w: launcher(training("processes")(w)),
        device=config["device"],
    shell:
        "{params.launch} train --samples {input.samples} --results results --folder {params.folder}"
        " --settings {params.settings:q} --device {params.device} --code {params.code} {params.start} > {log} 2>&1"


rule choose:
    """The draw of a sweep with the smallest criterion on the validation part; the held-out part is not read."""
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
    """The chosen draw's network as the experiment's own."""
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
        run=MEMBER,
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
