# Input: data/<cohort>/ with its scans. Output: results/<cohort>/preproc, a BIDS derivative dataset with the files of each scan in
# sub-*/ses-*/anat/ (*_qc.json is written last), and results/<cohort>/preproc_batches/<batch>.tsv for each batch of scans.


# The refinement is a matter of each scan. Its number of steps is no parameter here, so that another one trains nothing again.
rule registration_network:
    """Train the network of `registration: learned` on pairs painted from the template. An interrupted training continues from its
    checkpoint."""
    input:
        template="results/template.npz",
    output:
        weights=REGISTRATION_NETWORK,
        losses="results/registration/losses.tsv",
    log:
        "logs/registration_network.log",
    benchmark:
        "benchmarks/registration_network.tsv"
    priority: TRAINING
    retries: 2
    conda:
        ENVIRONMENT
    resources:
        **(GPU_MODEL if GPU else {}),
        gpu=GPU,
        mem_mb=by_attempt(4000),
        runtime=by_attempt(720),
    params:
        code=code_hash("registration-network"),
        folder=lambda w, output: os.path.dirname(output.weights),
        settings=json.dumps(
            {
                key: PREPROCESSING["learned"][key]
                for key in ("steps", "learning_rate", "seed")
            },
            sort_keys=True,
        ),
        device=config["device"],
    shell:
        "neurocohort registration-network --template {input.template} --folder {params.folder} --settings {params.settings:q}"
        " --device {params.device} --code {params.code} > {log} 2>&1"


# Images and the table of scans are not inputs: a new time stamp would rerun the batch and everything after it. Instead, a parameter
# has the hash of the batch's scans and their files. Preprocessed images are not outputs, because Snakemake would delete them if
# the job failed. The record of each scan shows whether it is current.
rule preprocess_batch:
    """Preprocess a batch of scans: brain mask, bias field, affine to the template, intensities, volumes and quality numbers."""
    input:
        template="results/template.npz",
        # This also makes the batch wait for ingest: an input can wait for a checkpoint, a parameter can't.
        weights=lambda w: (
            brain_extraction_weights(w.cohort) if batches_of(w.cohort) else []
        ),
        network=lambda w: registration_network_of(w.cohort),
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
        network=lambda w, input: (
            f"--registration-network={input.network}" if input.network else ""
        ),
    shell:
        "neurocohort preprocess-batch --data {params.data} --results {params.results} --batch {wildcards.batch}"
        " --template {input.template} {params.weights} {params.network} --settings {params.settings:q}"
        ' --machine \'{{"memory_mb": {resources.mem_mb}, "workers": {threads}, "attempt": {resources.attempt},'
        ' "attempts": {resources.attempts}}}\' > {log} 2>&1'


rule quality:
    """Quality table of the cohort, exclusions with stage and reason, notes, and the description of the preprocessed dataset."""
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
