# Needs the network (or a folder with the archives). Leaves resources/<source>/<archive>, checked, shared between studies.


rule download:
    """One file of a source: resumed, checked, kept between studies."""
    input:
        local_original,
    output:
        "resources/{store}/{file}",
    log:
        "logs/download/{store}/{file}.log",
    benchmark:
        "benchmarks/download/{store}/{file}.tsv"
    wildcard_constraints:
        store=one_of(STORES),
        file="[^/]+",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        source=lambda wildcards: COHORTS[STORES[wildcards.store]]["source"],
        key=lambda wildcards: key_of(wildcards.store, wildcards.file),
        published=lambda wildcards: published_of(wildcards.store, wildcards.file),
        base_url=lambda wildcards: COHORTS[STORES[wildcards.store]]["base_url"] or "",
    shell:
        "neurocohort download --source {params.source} --key {params.key} --destination {output:q}"
        " --base-url={params.base_url:q} 2>&1 | tee {log:q}"


rule download_weights:
    """SynthStrip's weights, held to the sha256 under which they are published."""
    output:
        SYNTHSTRIP_WEIGHTS,
    log:
        "logs/download/synthstrip.log",
    benchmark:
        "benchmarks/download/synthstrip.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        source="synthstrip",
        published=str(read_source(SYNTHSTRIP).files["weights"]),
        base_url=PREPROCESSING["weights_url"],
    shell:
        "neurocohort download --source {params.source} --key weights --destination {output:q}"
        " --base-url={params.base_url:q} 2>&1 | tee {log:q}"
