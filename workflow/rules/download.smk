# Needs the network (or a folder with the archives). Leaves resources/<source>/<archive>, checked, shared between studies.
import hashlib


def store_of(cohort):
    """Published archives share one folder; those from an address of one's own have a folder that names the address."""
    settings = COHORTS[cohort]
    base = settings["base_url"]
    mark = "-" + hashlib.sha256(base.encode()).hexdigest()[:8] if base else ""
    return settings["source"] + mark


STORES = {store_of(cohort): cohort for cohort in COHORTS}


def archive(cohort, key):
    name = read_source(source_table(cohort)).files[key].name
    return f"resources/{store_of(cohort)}/{name}"


def key_of(store, file):
    files = read_source(source_table(STORES[store])).files
    return next(key for key, entry in files.items() if entry.name == file)


def local_original(wildcards):
    """The file itself where the base address is a folder, so that a rule may make it first; nothing for a remote one."""
    base = COHORTS[STORES[wildcards.store]]["base_url"] or ""
    base = base.removeprefix("file://")
    return [] if not base or "://" in base else f"{base.rstrip('/')}/{wildcards.file}"


localrules:
    download,


rule download:
    """One file of a source: resumed, checked, kept between studies."""
    input:
        local_original,
    output:
        "resources/{store}/{file}",
    wildcard_constraints:
        store="|".join(STORES),
        file="[^/]+",
    params:
        source=lambda wildcards: source_table(STORES[wildcards.store]),
        key=lambda wildcards: key_of(wildcards.store, wildcards.file),
        base_url=lambda wildcards: COHORTS[STORES[wildcards.store]]["base_url"] or "",
    log:
        "logs/download/{store}/{file}.log",
    benchmark:
        "benchmarks/download/{store}/{file}.tsv"
    shell:
        "neurocohort download --source-table {params.source:q} --key {params.key} --destination {output:q}"
        " --base-url={params.base_url:q} 2>&1 | tee {log:q}"
