# Needs an experiment's samples and the packed cohorts. Leaves a model a seed, and predictions on the parts not trained on.


# The checkpoint lies in no declared output, since those of a failed job are deleted.
rule train:
    """One network, its epoch chosen on the validation part; killed, it goes on from its checkpoint."""
    input:
        samples="results/experiments/{experiment}/training/samples.tsv",
        packed=lambda w: packed_arrays(trained_cohorts(w.experiment)),
    output:
        weights="results/experiments/{experiment}/seed-{seed}/model.safetensors",
        history="results/experiments/{experiment}/seed-{seed}/history.tsv",
        run="results/experiments/{experiment}/seed-{seed}/run.json",
    log:
        "logs/train/{experiment}/seed-{seed}.log",
    benchmark:
        "benchmarks/train/{experiment}/seed-{seed}.tsv"
    priority: 10  # the longest jobs of a run: started as soon as their cohort is ready, they overlap with the others
    conda:
        ENVIRONMENT
    resources:
        gpu=GPU,
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: 720 * attempt,
    params:
        code=code_hash("train"),
        folder=lambda w, output: os.path.dirname(output[0]),
        task=lambda w: EXPERIMENTS[w.experiment]["task"],
        modalities=lambda w: ",".join(EXPERIMENTS[w.experiment]["modalities"]),
        network=network("name"),
        channels=lambda w: ",".join(map(str, network("channels")(w) or [])),
        dropout=network("dropout"),
        norm=network("norm"),
        soft_bins=lambda w: (
            "--soft-bins" if network("soft_bins")(w) else "--no-soft-bins"
        ),
        epochs=training("epochs"),
        batch_size=training("batch_size"),
        learning_rate=training("learning_rate"),
        patience=training("patience"),
        threads=training("threads"),
        device=config["device"],
    shell:
        "neurocohort train --samples {input.samples} --results results --folder {params.folder} --checkpoints checkpoints"
        " --task {params.task} --modalities {params.modalities} --network {params.network} --channels={params.channels:q} --dropout {params.dropout}"
        " --norm {params.norm} {params.soft_bins} --epochs {params.epochs} --batch-size {params.batch_size} --learning-rate {params.learning_rate}"
        " --patience {params.patience} --seed {wildcards.seed} --threads {params.threads} --device {params.device}"
        " --code {params.code} > {log} 2>&1"


rule predict:
    """One trained network applied to the validation, held-out and external scans."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        packed=lambda w: packed_arrays(all_cohorts(w.experiment)),
        weights="results/experiments/{experiment}/seed-{seed}/model.safetensors",
        run="results/experiments/{experiment}/seed-{seed}/run.json",
    output:
        "results/experiments/{experiment}/seed-{seed}/predictions.tsv",
    log:
        "logs/predict/{experiment}/seed-{seed}.log",
    benchmark:
        "benchmarks/predict/{experiment}/seed-{seed}.tsv"
    conda:
        ENVIRONMENT
    resources:
        gpu=GPU,
        mem_mb=8000,
        runtime=120,
    params:
        code=code_hash("predict"),
        folder=lambda w, input: os.path.dirname(input.weights),
        voxel_ml=VOXEL_ML,
        device=config["device"],
    shell:
        "neurocohort predict --samples {input.samples} --results results --model {params.folder} --output {output}"
        " --voxel-ml {params.voxel_ml} --device {params.device} > {log} 2>&1"


rule ensemble:
    """The mean of the predictions over an experiment's seeds."""
    input:
        lambda w: expand(
            "results/experiments/{{experiment}}/seed-{seed}/predictions.tsv",
            seed=training("seeds")(w),
        ),
    output:
        "results/experiments/{experiment}/predictions.tsv",
    log:
        "logs/ensemble/{experiment}.log",
    benchmark:
        "benchmarks/ensemble/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_hash("ensemble"),
    shell:
        "neurocohort ensemble --output {output} {input} > {log} 2>&1"
