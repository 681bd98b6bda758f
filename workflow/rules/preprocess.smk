# Needs data/<cohort>/ with its scans. Leaves results/<cohort>/preproc, a BIDS derivative dataset: a scan's files in
# sub-*/ses-*/anat/, its *_qc.json last, then what describes the dataset; and, of each batch of scans,
# results/<cohort>/preproc_batches/<batch>.tsv.


# No image and no table of scans is an input: a touched one would start its batch, and all that follows. Which scans are in the
# batch, and what is in their files, is a parameter. The images are not declared, because Snakemake would delete those of a job
# that failed: each scan's record says whether it is current.
rule preprocess_batch:
    """Some of a cohort's scans: brain mask, bias field, affine to the template, intensities, volumes and quality numbers."""
    input:
        template="results/template.npz",
        # The ingest is asked for here: Snakemake lets an input wait for a checkpoint, and not a parameter.
        weights=lambda w: (
            brain_extraction_weights(w.cohort) if batches_of(w.cohort) else []
        ),
    output:
        "results/{cohort}/preproc_batches/{batch}.tsv",
    log:
        "logs/preprocess/{cohort}/{batch}.log",
    benchmark:
        "benchmarks/preprocess/{cohort}/{batch}.tsv"
    priority: PREPROCESSING_SCANS
    conda:
        ENVIRONMENT
    resources:
        **(GPU_MODEL if PREPROCESSING["device"] == "cuda" else {}),
        gpu=int(PREPROCESSING["device"] == "cuda"),
        attempt=lambda w, attempt: attempt,
        attempts=attempts_allowed,
        mem_mb=lambda w, input, threads, attempt: (
            (8000 if input.weights else 3000) * threads * attempt
        ),
        runtime=lambda w, input, attempt: (
            batch_minutes(len(scans_of_batch(w)), 30 if input.weights else 8) * attempt
        ),
    params:
        code=code_hash("preprocess-batch"),
        scans=lambda w: batch_hash(scans_of_batch(w)),
        settings=preprocess_settings,
        data="data/{cohort}",
        results="results/{cohort}",
        weights=lambda w, input: f"--weights={input.weights}" if input.weights else "",
    shell:
        "neurocohort preprocess-batch --data {params.data} --results {params.results} --batch {wildcards.batch}"
        " --template {input.template} {params.weights} --settings {params.settings:q}"
        ' --machine \'{{"memory_mb": {resources.mem_mb}, "workers": {threads}, "attempt": {resources.attempt},'
        ' "attempts": {resources.attempts}}}\' > {log} 2>&1'


rule quality:
    """The cohort's quality table, its exclusions with stage and reason, its notes, and what describes the preprocessed dataset."""
    input:
        scans="data/{cohort}/scans.tsv",
        exclusions="data/{cohort}/exclusions.tsv",
        batches="data/{cohort}/batches.tsv",
        results=batch_results,
    output:
        qc=report(
            "results/{cohort}/qc.tsv",
            caption="../report/quality.rst",
            category="Scans",
            subcategory="{cohort}",
            labels={"table": "quality numbers"},
        ),
        exclusions=report(
            "results/{cohort}/exclusions.tsv",
            caption="../report/exclusions.rst",
            category="Scans",
            subcategory="{cohort}",
            labels={"table": "exclusions"},
        ),
        notes="results/{cohort}/notes.tsv",
        description="results/{cohort}/preproc/dataset_description.json",
        bidsignore="results/{cohort}/preproc/.bidsignore",
    log:
        "logs/quality/{cohort}.log",
    benchmark:
        "benchmarks/quality/{cohort}.tsv"
    priority: BEFORE_TRAINING
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(20),
    params:
        code=code_hash("quality"),
        data=lambda w, input: os.path.dirname(input.scans),
        results="results/{cohort}",
        limits=json.dumps(config["quality"]),
    shell:
        "neurocohort quality --data {params.data} --results {params.results} --limits {params.limits:q} > {log} 2>&1"
