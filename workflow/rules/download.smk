# Input: the network, or a folder with the archives. Output: resources/<source>/<archive>, verified and shared between studies.


rule download:
    """Download one file of a source; resumes, verifies, and keeps the file for other studies."""
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
    """Download the weights of SynthStrip and compare them with the published sha256."""
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


rule download_network:
    """Download the published network that experiments start from, and compare it with its published checksum."""
    output:
        f"resources/{{published_store}}/{published_file().name}",
    log:
        "logs/download/{published_store}.log",
    benchmark:
        "benchmarks/download/{published_store}.tsv"
    wildcard_constraints:
        published_store=one_of(PUBLISHED_STORES),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        source=PUBLISHED,
        published=f"{published_file()} {published_file().git_blob}",
        base_url=lambda w: PUBLISHED_STORES[w.published_store],
    shell:
        "neurocohort download --source {params.source} --key weights --destination {output:q}"
        " --base-url={params.base_url:q} 2>&1 | tee {log:q}"
