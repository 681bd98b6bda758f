# Input: training samples of regressions with `generation`. Output: a generative model of their scans, images drawn from it, the network
# that learned from these images, and what they are worth on the held-out scans; and held-out scans with a changed target.


rule train_generator:
    """Train a latent diffusion model of the training scans, given the target and sex. It continues from its checkpoint."""
    input:
        samples="results/experiments/{experiment}/training/samples.tsv",
        packed=lambda w: packed_arrays(
            trained_cohorts(w.experiment), development_packs(TEST_FOLDS, 0)
        ),
    output:
        weights="results/experiments/{experiment}/generation/model/model.safetensors",
        history="results/experiments/{experiment}/generation/model/history.tsv",
        run="results/experiments/{experiment}/generation/model/run.json",
    log:
        "logs/train_generator/{experiment}.log",
    benchmark:
        "benchmarks/train_generator/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(GENERATING),
    priority: TRAINING
    retries: 2
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(720),
    params:
        code=code_hash("train"),
        folder=lambda w, output: os.path.dirname(output.weights),
        settings=generator_of,
        device=config["device"],
    shell:
        "neurocohort train --samples {input.samples} --results results --folder {params.folder}"
        " --settings {params.settings:q} --device {params.device} --code {params.code} > {log} 2>&1"


rule generate:
    """Draw images from the generative model, of target values and sexes that occur in the training part."""
    input:
        samples="results/experiments/{experiment}/training/samples.tsv",
        packed=lambda w: packed_arrays(
            trained_cohorts(w.experiment), development_packs(TEST_FOLDS, 0)
        ),
        weights="results/experiments/{experiment}/generation/model/model.safetensors",
        run="results/experiments/{experiment}/generation/model/run.json",
    output:
        samples="results/experiments/{experiment}/generation/samples.tsv",
        images="results/experiments/{experiment}/generation/packed/generated/images.npy",
        labels="results/experiments/{experiment}/generation/packed/generated/labels.npy",
        index="results/experiments/{experiment}/generation/packed/generated/index.tsv",
        channels="results/experiments/{experiment}/generation/packed/generated/channels.tsv",
    log:
        "logs/generate/{experiment}.log",
    benchmark:
        "benchmarks/generate/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(GENERATING),
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        code=code_hash("generate"),
        model=lambda w, input: os.path.dirname(input.weights),
        folder=lambda w, output: os.path.dirname(output.images),
        cohort="experiments/{experiment}/generation",
        seed=config["split"]["seed"],
        device=config["device"],
    shell:
        "neurocohort generate --samples {input.samples} --results results --model {params.model} --folder {params.folder}"
        " --output {output.samples} --cohort {params.cohort} --device {params.device} --seed {params.seed} > {log} 2>&1"


rule train_on_generated:
    """Train the network of the experiment on generated images alone, with the settings of the one that learned from scans."""
    input:
        samples="results/experiments/{experiment}/generation/samples.tsv",
        images="results/experiments/{experiment}/generation/packed/generated/images.npy",
        index="results/experiments/{experiment}/generation/packed/generated/index.tsv",
    output:
        weights="results/experiments/{experiment}/generation/learner/model.safetensors",
        history="results/experiments/{experiment}/generation/learner/history.tsv",
        run="results/experiments/{experiment}/generation/learner/run.json",
    log:
        "logs/train_on_generated/{experiment}.log",
    benchmark:
        "benchmarks/train_on_generated/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(GENERATING),
    priority: TRAINING
    retries: 2
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(720),
    params:
        code=code_hash("train"),
        folder=lambda w, output: os.path.dirname(output.weights),
        settings=learner_of,
        device=config["device"],
    shell:
        "neurocohort train --samples {input.samples} --results results --folder {params.folder}"
        " --settings {params.settings:q} --device {params.device} --code {params.code} > {log} 2>&1"


rule generation:
    """Generated images next to scans: as what a network learns from, as possible copies, and as a distribution."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        packed=lambda w: packed_arrays(trained_cohorts(w.experiment), PACKS),
        generated="results/experiments/{experiment}/generation/samples.tsv",
        images="results/experiments/{experiment}/generation/packed/generated/images.npy",
        learner="results/experiments/{experiment}/generation/learner/model.safetensors",
        learner_run="results/experiments/{experiment}/generation/learner/run.json",
        reference=lambda w: member_of_reference(w, "model.safetensors"),
        reference_run=lambda w: member_of_reference(w, "run.json"),
        # Not read: the evaluation of the experiment is on record before its result can be seen.
        metrics="results/experiments/{experiment}/metrics.tsv",
    output:
        table="results/experiments/{experiment}/generation.tsv",
        examples="results/experiments/{experiment}/generation/examples.npz",
    log:
        "logs/generation/{experiment}.log",
    benchmark:
        "benchmarks/generation/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(GENERATING),
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(120),
    params:
        code=code_hash("generation"),
        folder=lambda w, output: os.path.dirname(output.table),
        reference=lambda w, input: os.path.dirname(input.reference),
        study=config["study"],
        settings=evaluated_with_generation,
        intervals=json.dumps(config["evaluation"]),
        device=config["device"],
    shell:
        "neurocohort generation --samples {input.samples} --results results --folder {params.folder}"
        " --reference {params.reference} --study {params.study:q} --settings {params.settings:q}"
        " --intervals {params.intervals:q} --device {params.device} > {log} 2>&1"


rule counterfactual:
    """Held-out scans that the generative model changes for another value of the target, next to random weights."""
    input:
        samples="results/experiments/{experiment}/samples.tsv",
        packed=lambda w: packed_arrays(trained_cohorts(w.experiment), PACKS),
        model="results/experiments/{experiment}/generation/model/model.safetensors",
        model_run="results/experiments/{experiment}/generation/model/run.json",
        reference=lambda w: member_of_reference(w, "model.safetensors"),
        reference_run=lambda w: member_of_reference(w, "run.json"),
        # Not read: the evaluation of the experiment is on record before its result can be seen.
        metrics="results/experiments/{experiment}/metrics.tsv",
    output:
        table="results/experiments/{experiment}/counterfactual.tsv",
        examples="results/experiments/{experiment}/generation/counterfactual.npz",
    log:
        "logs/counterfactual/{experiment}.log",
    benchmark:
        "benchmarks/counterfactual/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(COUNTERFACTUAL),
    conda:
        ENVIRONMENT
    threads: training("threads")
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(120),
    params:
        code=code_hash("counterfactual"),
        folder=lambda w, output: os.path.dirname(output.table),
        model=lambda w, input: os.path.dirname(input.model),
        reference=lambda w, input: os.path.dirname(input.reference),
        settings=counterfactual_of,
        intervals=json.dumps(config["evaluation"]),
        seed=config["split"]["seed"],
        device=config["device"],
    shell:
        "neurocohort counterfactual --samples {input.samples} --results results --folder {params.folder}"
        " --model {params.model} --reference {params.reference} --settings {params.settings:q}"
        " --intervals {params.intervals:q} --device {params.device} --seed {params.seed} > {log} 2>&1"
