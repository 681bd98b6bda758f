"""The subcommands that hand a study over, verify what was handed over, and collect everything for a machine without a network."""

from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import command


@command
def export(
    results: Path = Path("results"),
    output: Path = Path("handover.zip"),
    data: Path = Path("data"),
    splits: Path = Path("splits"),
    with_images: Annotated[bool, typer.Option(help="include the pictures and pages of single scans")] = False,
    names: Annotated[
        Path | None, typer.Option(help="a text file with names that must not be in it, one per line")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="a string that identifies nobody although it was found")
    ] = None,
    salt_file: Annotated[
        Path | None, typer.Option(help="keep the salt here, or take it from here if it exists")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="write a table of the ids and their hashes here")] = None,
) -> None:
    """Write a finished study into one archive without ids, dates and paths, if no string in it identifies anybody."""
    from neurocohort.handover.archive import Place
    from neurocohort.handover.archive import export as write_archive
    from neurocohort.handover.identifiers import collect, paths_in
    from neurocohort.handover.pseudonyms import Pseudonyms, keep_secret, new_salt, read_salt
    from neurocohort.text import size

    place = Place(results, data, splits)
    configuration = place.provenance["configuration"]
    strings = collect(data, list(configuration["cohorts"]), names).without(allow or [])
    for path in [*paths_in(configuration), str(results.resolve())]:
        strings.add_path(path)
    salt = read_salt(salt_file) if salt_file and salt_file.is_file() else new_salt()
    pseudonyms = Pseudonyms(strings, salt)
    if with_images:
        print(
            "warning: the archive has pictures of single persons' heads and brains. A face can be recognised in them."
        )
    written = write_archive(place, output, strings, pseudonyms, images=with_images)
    print(f"{output}: {written.files} files, {size(written.content_bytes)}, packed {size(written.archive_bytes)}.")
    print(f"{len(pseudonyms.key)} ids are salted hashes. No id, name, path or text of an image header was found in it.")
    if salt_file:
        keep_secret(salt_file, salt.hex() + "\n")
        print(f"The salt is in {salt_file.resolve()}. Keep it to yourself: who has it can find ids by trying.")
    if key:
        keep_secret(key, pseudonyms.key_table())
        print(f"The table of ids and hashes is {key.resolve()}. Keep it to yourself.")
    if not salt_file and not key:
        print("Nobody can find the ids of its hashes any more; --key or --salt-file would keep a way.")


@command
def verify(
    archive: Annotated[Path, typer.Argument(help="an archive of `neurocohort export`")],
    baselines: Annotated[bool, typer.Option(help="compute the metrics of the baselines too")] = False,
) -> None:
    """Check an archive without the study's data: hashes, tables, split, and the metrics computed again from the predictions."""
    from neurocohort.handover.verify import verify as checks_of

    failed = 0
    for check in checks_of(archive, baselines=baselines):
        failed += not check.passed
        print(f"{'PASS' if check.passed else 'FAIL'}  {check.name}: {check.detail}")
    if failed:
        raise typer.Exit(1)


@command
def bundle_offline(
    folder: Annotated[Path, typer.Argument(help="the folder to fill")],
    studies: Annotated[list[Path] | None, typer.Argument(help="study files whose weights are needed")] = None,
    sources: Annotated[bool, typer.Option(help="include the archives of the studies' public cohorts")] = False,
    extra_index: Annotated[str, typer.Option(help="another package index, such as torch's for CPUs")] = "",
) -> None:
    """Collect everything that a machine without a network needs: code, packages, weights, and a script that installs them."""
    from neurocohort.errors import InputError
    from neurocohort.handover.offline import INSTALL, files_of
    from neurocohort.handover.offline import bundle_offline as fill
    from neurocohort.study.configuration import read_checked
    from neurocohort.text import size

    if sources and not studies:
        raise InputError("--sources needs to know whose archives: give the study file after the folder.")
    needed = list(files_of(read_checked(studies), sources=sources)) if studies else []
    total = fill(folder, needed, extra_index=extra_index)
    print(
        f"{folder}: {size(total)}. Copy it to the other machine and run there: sh {folder.name}/{INSTALL} neurocohort"
    )
