# Needs a source's archives and its table, or a folder or table of one's own. Leaves data/<cohort>/: raw BIDS, and the tables that name each scan.


rule template:
    """The brain template on the study's grid."""
    output:
        "results/template.npz",
    log:
        "logs/template.log",
    benchmark:
        "benchmarks/template.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(10),
    params:
        code=code_hash("template"),
        spacing_mm=PREPROCESSING["spacing_mm"],
        shape=PREPROCESSING["shape"],
    shell:
        "neurocohort template --output {output} --spacing-mm {params.spacing_mm} --shape {params.shape} > {log} 2>&1"


# A job of another rule has no need of this one: the tables are there when it is submitted. Without a checkpoint, the Snakemake
# inside a job builds the graph of its own rule alone; with one, each job would build the graph of all scans (12 s and 370 MB with
# 10,000) and look at each image of the user's. Jobs are started with `--allowed-rules` and the names of
# their rules, which have a prefix where this workflow is a module of another.
if not IN_JOB or any(word.endswith("ingest_cohort") for word in sys.argv):

    # The images are not declared: which there are is known only afterwards, and those that did not change stay as they are.
    checkpoint ingest_cohort:
        """One cohort as raw BIDS, each quirk of its source ending as a value, a missing value or an exclusion."""
        input:
            ingest_inputs,
        output:
            scans="data/{cohort}/scans.tsv",
            batches="data/{cohort}/batches.tsv",
            exclusions="data/{cohort}/exclusions.tsv",
            participants="data/{cohort}/participants.tsv",
            dictionary="data/{cohort}/participants.json",
            description="data/{cohort}/dataset_description.json",
            notes="data/{cohort}/notes.tsv",
            inputs="data/{cohort}/inputs.tsv",
        log:
            "logs/ingest/{cohort}.log",
        benchmark:
            "benchmarks/ingest/{cohort}.tsv"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=by_attempt(2000),
            runtime=by_attempt(240),
        params:
            code=code_hash("ingest"),
            settings=lambda w: IngestSettings.taken_from(
                PREPROCESSING, COHORTS[w.cohort]
            ).as_json(),
            files=ingest_files,
            fingerprint=ingest_fingerprint,
            folder=lambda w, output: os.path.dirname(output[0]),
        shell:
            "neurocohort ingest --folder {params.folder} --settings {params.settings:q} {params.files} > {log} 2>&1"
