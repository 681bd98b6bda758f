# Needs the cohorts' tables and preprocessed scans. Leaves splits, packed arrays, and each experiment's samples.


rule split:
    """The split by participant: stratified and seeded."""
    input:
        "data/{cohort}/scans.tsv",
    output:
        "results/{cohort}/split.tsv",
    log:
        "logs/split/{cohort}.log",
    benchmark:
        "benchmarks/split/{cohort}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_hash("split"),
        validation=config["split"]["validation"],
        held_out=config["split"]["held_out"],
        seed=config["split"]["seed"],
    shell:
        "neurocohort split --scans {input} --output {output} --validation {params.validation}"
        " --held-out {params.held_out} --seed {params.seed} > {log} 2>&1"


rule pack:
    """The cohort's usable scans in one memory-mapped array of eight bits a voxel."""
    input:
        qc="results/{cohort}/qc.tsv",
    output:
        images="results/{cohort}/packed/images.npy",
        labels="results/{cohort}/packed/labels.npy",
        index="results/{cohort}/packed/index.tsv",
    log:
        "logs/pack/{cohort}.log",
    benchmark:
        "benchmarks/pack/{cohort}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code_hash("pack"),
        preproc="results/{cohort}/preproc",
    shell:
        "neurocohort pack --qc {input.qc} --preproc {params.preproc} --images {output.images} --labels {output.labels}"
        " --index {output.index} > {log} 2>&1"


# Training sees its own cohorts alone: an external cohort added later changes nothing that was trained.
rule select_training:
    """The samples that an experiment trains, validates and is held out on."""
    input:
        lambda w: cohort_tables(trained_cohorts(w.experiment)),
    output:
        samples="results/experiments/{experiment}/training/samples.tsv",
        flow="results/experiments/{experiment}/training/flow.tsv",
    log:
        "logs/select_training/{experiment}.log",
    benchmark:
        "benchmarks/select_training/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_hash("select"),
        task=lambda w: EXPERIMENTS[w.experiment]["task"],
        target=lambda w: EXPERIMENTS[w.experiment]["target"],
        query=lambda w: EXPERIMENTS[w.experiment]["filter"],
        cohorts=lambda w: trained_cohorts(w.experiment),
    shell:
        "neurocohort select --data data --results results --samples {output.samples} --flow {output.flow}"
        " --task {params.task} --target {params.target} --query={params.query:q} {params.cohorts} > {log} 2>&1"


rule select:
    """All samples of an experiment, those of its external cohorts too."""
    input:
        lambda w: cohort_tables(all_cohorts(w.experiment)),
    output:
        samples="results/experiments/{experiment}/samples.tsv",
        flow="results/experiments/{experiment}/flow.tsv",
    log:
        "logs/select/{experiment}.log",
    benchmark:
        "benchmarks/select/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_hash("select"),
        task=lambda w: EXPERIMENTS[w.experiment]["task"],
        target=lambda w: EXPERIMENTS[w.experiment]["target"],
        query=lambda w: EXPERIMENTS[w.experiment]["filter"],
        cohorts=lambda w: trained_cohorts(w.experiment),
        external=lambda w: [
            f"--external {cohort}" for cohort in EXPERIMENTS[w.experiment]["external"]
        ],
    shell:
        "neurocohort select --data data --results results --samples {output.samples} --flow {output.flow}"
        " --task {params.task} --target {params.target} --query={params.query:q} {params.external} {params.cohorts}"
        " > {log} 2>&1"
