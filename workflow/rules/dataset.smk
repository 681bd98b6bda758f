# Input: tables and preprocessed scans of the cohorts. Output: splits, packed arrays, and the samples of each experiment.


rule split:
    """Split by participant, stratified and seeded. Existing assignments never change. Or the split file of the user."""
    input:
        scans="data/{cohort}/scans.tsv",
        split_file=lambda w: split_files(w.cohort),
    output:
        report(
            "results/{cohort}/split.tsv",
            caption="../report/split.rst",
            category="Scans",
            subcategory="{cohort}",
            labels={"table": "split"},
        ),
    log:
        "logs/split/{cohort}.log",
    benchmark:
        "benchmarks/split/{cohort}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("split"),
        settings=lambda w: SplitSettings.taken_from(
            config["split"], class_column=class_column(w)
        ).as_json(),
        split_file=lambda w: (
            f"--split-file={shlex.quote(COHORTS[w.cohort]['split_file'])}"
            if "split_file" in COHORTS[w.cohort]
            else ""
        ),
    shell:
        "neurocohort split --scans {input.scans} --output {output} --cohort {wildcards.cohort} --frozen splits"
        " --settings {params.settings:q} {params.split_file} > {log} 2>&1"


rule pack:
    """Usable scans of the development or the held-out part, or of a test fold, in one memory-mapped array, eight bits per voxel."""
    input:
        qc="results/{cohort}/qc.tsv",
        split="results/{cohort}/split.tsv",
    output:
        images="results/{cohort}/packed/{pack}/images.npy",
        labels="results/{cohort}/packed/{pack}/labels.npy",
        index="results/{cohort}/packed/{pack}/index.tsv",
        channels="results/{cohort}/packed/{pack}/channels.tsv",
    log:
        "logs/pack/{cohort}/{pack}.log",
    benchmark:
        "benchmarks/pack/{cohort}/{pack}.tsv"
    priority: BEFORE_TRAINING
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(60),
    params:
        code=code_hash("pack"),
        preproc="results/{cohort}/preproc",
        folder=lambda w, output: os.path.dirname(output.images),
        channels=channels_of,
    shell:
        "neurocohort pack --qc {input.qc} --split {input.split} --pack {wildcards.pack} --preproc {params.preproc}"
        " --folder {params.folder} --channels {params.channels} > {log} 2>&1"


# Training reads only the development part of its own cohorts. No file of it contains held-out scans, and an external cohort that is
# added later doesn't change it. With test folds, each has its own table, without its held-out scans.
rule select_training:
    """Samples of an experiment for training, validation and held-out evaluation."""
    input:
        after_ingest,
        lambda w: cohort_tables(trained_cohorts(w.experiment)),
    output:
        samples=f"results/experiments/{{experiment}}/{TRAINING_FOLDER}/samples.tsv",
        flow=f"results/experiments/{{experiment}}/{TRAINING_FOLDER}/flow.tsv",
        known=f"results/experiments/{{experiment}}/{TRAINING_FOLDER}/known_scans.json",
    log:
        f"logs/select_training/{{experiment}}{SUFFIX}.log",
    benchmark:
        f"benchmarks/select_training/{{experiment}}{SUFFIX}.tsv"
    priority: BEFORE_TRAINING
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("select"),
        settings=lambda w: selection_settings(
            w.experiment, external=[], development=True, **test_fold_of(w)
        ),
        conditions=lambda w: training_conditions(w.experiment),
        split_files=lambda w: json.dumps(split_files_of(w.experiment)),
        trained=trained_option,
    shell:
        "neurocohort select --data data --results results --samples {output.samples} --flow {output.flow}"
        " --settings {params.settings:q} --conditions {params.conditions} --split-files {params.split_files:q}"
        " --known {output.known} {params.trained} > {log} 2>&1"


rule select_unlabelled:
    """Scans of the training and validation parts that an experiment learns from without their label map, if they have one."""
    input:
        after_ingest,
        lambda w: cohort_tables(trained_cohorts(w.experiment)),
        labelled="results/experiments/{experiment}/training/samples.tsv",
    output:
        "results/experiments/{experiment}/training/unlabelled.tsv",
    log:
        "logs/select_unlabelled/{experiment}.log",
    benchmark:
        "benchmarks/select_unlabelled/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(filter(unlabelled_samples, EXPERIMENTS)),
    priority: BEFORE_TRAINING
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("select-unlabelled"),
        settings=lambda w: selection_settings(
            w.experiment, external=[], development=True
        ),
    shell:
        "neurocohort select-unlabelled --data data --results results --labelled {input.labelled} --output {output}"
        " --settings {params.settings:q} > {log} 2>&1"


rule select:
    """All samples of an experiment, including those of external cohorts; and scans to which its networks are only applied."""
    input:
        after_ingest,
        lambda w: cohort_tables(all_cohorts(w.experiment)),
        pretrained=lambda w: [
            one.partition("=")[2] for one in pretraining_samples(w.experiment)
        ],
        unlabelled=lambda w: unlabelled_samples(w.experiment),
    output:
        samples="results/experiments/{experiment}/samples.tsv",
        flow="results/experiments/{experiment}/flow.tsv",
        applied="results/experiments/{experiment}/applied_samples.tsv",
    log:
        "logs/select/{experiment}.log",
    benchmark:
        "benchmarks/select/{experiment}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        code=code_hash("select"),
        settings=lambda w: selection_settings(w.experiment),
        trained=trained_option,
        pretrained=lambda w: " ".join(
            f"--pretrained={one}" for one in pretraining_samples(w.experiment)
        ),
        unlabelled=unlabelled_option,
    shell:
        "neurocohort select --data data --results results --samples {output.samples} --flow {output.flow}"
        " --settings {params.settings:q} --applied {output.applied} {params.trained} {params.pretrained}"
        " {params.unlabelled} > {log} 2>&1"
