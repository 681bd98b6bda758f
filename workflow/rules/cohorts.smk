# Input and parameter functions of cohorts: their files, and the batches of their scans.


def table_of_source(cohort):
    return source_table(COHORTS[cohort]["source"])


def source_files(cohort):
    """Files of a public cohort, as keys of the source's table: its archives, and its table of participants."""
    return needed_files(COHORTS[cohort], read_source(table_of_source(cohort)))


def synthetic_ixi_files():
    """The archives and tables of the synthetic IXI: those that the real cohort has for the same modalities."""
    modalities = SYNTHETIC.get("ixi", {}).get("modalities", ["T1w"])
    files = read_source(source_table("ixi")).files
    return [
        f"resources/synthetic/ixi/{files[key].name}"
        for key in [*ixi_files(modalities), "table"]
    ]


def is_local(cohort):
    return COHORTS[cohort]["source"] in ("bids", "caps", "table")


def ingest_inputs(wildcards):
    """Archives and table of a public cohort; for a local cohort its table, if it has one."""
    settings = COHORTS[wildcards.cohort]
    if is_local(wildcards.cohort):
        return settings["path"] if settings["source"] == "table" else []
    archives, table = source_files(wildcards.cohort)
    return [archive(wildcards.cohort, key) for key in [*archives, table]]


def ingest_files(wildcards):
    """Options of the ingest of a public cohort: its table and its archives."""
    if is_local(wildcards.cohort):
        return ""
    archives, table = source_files(wildcards.cohort)
    files = [archive(wildcards.cohort, key) for key in archives]
    return shlex.join([f"--table={archive(wildcards.cohort, table)}", *files])


def ingest_fingerprint(wildcards):
    """Fingerprint of a local folder or table, so that a changed or new image there reruns the ingest."""
    settings = COHORTS[wildcards.cohort]
    if not is_local(wildcards.cohort):
        return ""
    return fingerprint_local(settings, f"data/{wildcards.cohort}")


def split_files(cohort):
    """The user's split file of a cohort, or the files of a ClinicaDL split; none if the cohort has no split file."""
    given = COHORTS[cohort].get("split_file")
    if given and os.path.isdir(given):
        return [str(file.path) for file in split_tables(Path(given))]
    return [given] if given else []


def channels_of(wildcards):
    """Channels of a cohort's packs: its modalities, and tissue maps if the study has them."""
    maps = SUFFIXES.values() if PREPROCESSING["tissue_maps"] else []
    of_cohort = COHORTS[wildcards.cohort]
    modulated = PREPROCESSING["modulated_gm"] and not of_cohort.get("mni_space")
    return ",".join(
        [*of_cohort["modalities"], *maps, *([MODULATED_GM] if modulated else [])]
    )


def brain_extraction_weights(cohort):
    """Weights to download for the brain extraction; none if it is skipped or includes its weights."""
    extracted = (
        not COHORTS[cohort].get("skull_stripped") and PREPROCESSING["space"] != "native"
    )
    needed = PREPROCESSING["brain_extraction"] == "synthstrip" and extracted
    return SYNTHSTRIP_WEIGHTS if needed else []


def registration_network_of(cohort):
    """The network with which the cohort's scans are registered; none for an affine, for greedy and in MNI space."""
    needed = needs_network(PREPROCESSING) and not COHORTS[cohort].get("mni_space")
    return REGISTRATION_NETWORK if needed else []


# Not from `input`: Snakemake doesn't rerun for a change in a value that is made from it, such as that of skull_stripped.
def preprocess_settings(wildcards):
    """The settings of a scan and the hash of the code behind it, as JSON, for the command and for its record."""
    of_cohort = COHORTS[wildcards.cohort]
    return BatchSettings.taken_from(
        PREPROCESSING,
        skull_stripped=bool(of_cohort.get("skull_stripped")),
        mni_space=bool(of_cohort.get("mni_space")),
        code=module_hash("imaging.preprocess") + module_hash("imaging.scan_files"),
    ).as_json()


STORES = {
    store_of(settings): cohort
    for cohort, settings in COHORTS.items()
    if not is_local(cohort)
}


def archive(cohort, key):
    name = read_source(table_of_source(cohort)).files[key].name
    return f"resources/{store_of(COHORTS[cohort])}/{name}"


def key_of(store, file):
    files = read_source(table_of_source(STORES[store])).files
    return next(key for key, entry in files.items() if entry.name == file)


def published_of(store, file):
    """Entry of a file in the source's table, as text, so that an edit of the entry downloads the file again."""
    files = read_source(table_of_source(STORES[store])).files
    return str(files[key_of(store, file)])


def local_original(wildcards):
    """The archive as input if `base_url` is a folder, so that a rule can create it first; nothing for a remote address."""
    base = COHORTS[STORES[wildcards.store]]["base_url"] or ""
    base = base.removeprefix("file://")
    return [] if not base or "://" in base else f"{base.rstrip('/')}/{wildcards.file}"


# Cached, since it is called several times per batch. This is safe: ingest runs at most once per process, and the exception
# that Snakemake raises before that isn't cached.
@functools.cache
def batches_of(cohort):
    """Scans of each batch, with the hash of what preprocessing reads of each scan."""
    if IN_JOB:
        return read_batches(f"data/{cohort}/batches.tsv")
    return read_batches(checkpoints.ingest_cohort.get(cohort=cohort).output.batches)


def scans_of_batch(wildcards):
    return batches_of(wildcards.cohort).get(wildcards.batch, {})


def batch_results(wildcards):
    return [
        f"results/{wildcards.cohort}/preproc_batches/{batch}.tsv"
        for batch in batches_of(wildcards.cohort)
    ]
