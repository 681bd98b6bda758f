# Input: archives and table of a public cohort, or a local folder or table. Output: data/<cohort>/, raw BIDS with its tables.


rule template:
    """Brain template on the study's grid; for a study in native space the grid alone."""
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
        space=PREPROCESSING["space"],
    shell:
        "neurocohort template --output {output} --spacing-mm {params.spacing_mm} --shape {params.shape}"
        " --space {params.space} > {log} 2>&1"


# Cluster jobs of other rules don't define this checkpoint: when they are submitted, the tables exist. Without a checkpoint, the
# Snakemake inside a job builds only the graph of its own rule. With it, each job would build the graph of all scans and check
# each image of the user (12 s and 370 MB for 10,000 scans). The command line of a job contains `--allowed-rules` with its rule
# name, which has a prefix if this workflow is a module.
if not IN_JOB or any(word.endswith("ingest_cohort") for word in sys.argv):

    # Images are not declared as outputs: their names are known only afterwards, and unchanged images must not be deleted.
    checkpoint ingest_cohort:
        """One cohort as raw BIDS. Each irregularity of the source becomes a value, a missing value or an exclusion."""
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
                PREPROCESSING,
                COHORTS[w.cohort],
                structures=structures_to_ingest(COHORTS[w.cohort]),
            ).as_json(),
            files=ingest_files,
            fingerprint=ingest_fingerprint,
            folder=lambda w, output: os.path.dirname(output[0]),
        shell:
            "neurocohort ingest --folder {params.folder} --settings {params.settings:q} {params.files} > {log} 2>&1"
