"""A study that is handed over has no id, date or path in it, isn't written if it has a name, and can be verified by itself."""

import gzip
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from handover_study import DESCRIPTION, FREE_TEXT, PATIENT, make_study, people_of, write_safetensors
from neurocohort.cli import app
from neurocohort.errors import InputError
from neurocohort.files import sha256_of, write_json
from neurocohort.handover.archive import MANIFEST, Place
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished study."""
    folder = tmp_path_factory.mktemp("study")
    make_study(folder)
    return folder


@pytest.fixture
def study(finished, tmp_path) -> Place:
    """A copy of it, which the test may change."""
    shutil.copytree(finished, tmp_path / "study")
    return Place(*(tmp_path / "study" / name for name in ("results", "data", "splits")))


def run(*words):
    """The result of a command line; errors of the user are raised."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def export(study, *more):
    """Export the study; the archive's path and what was printed."""
    output = study.results.parent / "out" / "handover.zip"
    folders = ("--results", study.results, "--data", study.data, "--splits", study.splits)
    done = run("export", *folders, "--output", output, *more)
    assert done.exit_code == 0, done.output
    return output, done.output


def contents(archive) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def changed(archive, change) -> Path:
    """A copy of an archive after ``change``, which gets its files."""
    files = contents(archive)
    change(files)
    copy = archive.with_name("changed.zip")
    with zipfile.ZipFile(copy, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return copy


def test_no_id_date_or_path_is_in_the_archive(study):
    archive, printed = export(study)
    files = contents(archive)
    everything = b"\n".join([*files.values(), *map(str.encode, files)])
    for text in (b"AB1", b"20190312", b"2026-11-28", b"28 November", str(study.results.parent).encode(), b"my scans"):
        assert text not in everything, text
    voxels = people_of()["voxels_sha256"][0].encode()
    assert voxels not in everything, "the hash of a public image leads to its participant"
    page = files["report/index.html"].decode()
    assert len(re.findall(r"sub-p[0-9a-f]{12}_(?:<wbr>)?ses-v[0-9a-f]{8}", page)) == 2
    first = re.search(r"sub-(p[0-9a-f]{12})", page).group(1)
    assert f"of {first} and p" in page, "the spelling with a separator is the same person; AB1999 has the form of an id"
    assert "No id, name, path" in printed


def test_rows_and_numbers_of_tables_are_unchanged(study):
    files = contents(export(study)[0])
    before = pd.read_csv(study.results / "experiments/age/predictions.tsv", sep="\t", dtype=str)
    after = pd.read_csv(io.BytesIO(files["experiments/age/predictions.tsv"]), sep="\t", dtype=str)
    others = before.columns.difference(["scan_id", "participant_id"])
    assert before[others].equals(after[others])
    assert after["participant_id"].nunique() == before["participant_id"].nunique()


def test_report_has_no_pictures_and_no_broken_link(study):
    files = contents(export(study)[0])
    page = files["report/index.html"].decode()
    assert not [name for name in files if "subjects" in name or "mosaics" in name or name.endswith("report.zip")]
    assert re.findall(r"(?:href|src)=\"([^\"]+)", page) == ["tables/own_split.tsv", "#content"]
    assert "left out" in page and "<h1>2026</h1>" in page
    crate = json.loads(files["report/ro-crate-metadata.json"])["@graph"]
    assert [entity["@id"] for entity in crate] == ["./", "index.html"]
    assert crate[0]["hasPart"] == [{"@id": "index.html"}]
    assert crate[1]["contentSize"] == str(len(files["report/index.html"]))


def test_pictures_are_included_with_a_warning_if_asked_for(study):
    archive, printed = export(study, "--with-images")
    pictures = [name for name in contents(archive) if name.endswith(".webp")]
    assert len(pictures) == 1 and re.fullmatch(r"report/mosaics/own/sub-p\w{12}_ses-v\w{8}\.webp", pictures[0])
    assert "warning" in printed and "single persons" in printed
    assert run("verify", archive).exit_code == 0


def test_salt_and_key_are_kept_only_for_the_owner(study, tmp_path):
    first, printed = export(study)
    assert "Nobody can find the ids" in printed
    hashed = contents(first)["split/own.tsv"]
    assert contents(export(study)[0])["split/own.tsv"] != hashed, "each archive has its own salt"
    salt, key = tmp_path / "salt", tmp_path / "key.tsv"
    kept = contents(export(study, "--salt-file", salt, "--key", key)[0])
    assert contents(export(study, "--salt-file", salt)[0]) == kept
    assert salt.stat().st_mode & 0o077 == key.stat().st_mode & 0o077 == 0
    table = pd.read_csv(key, sep="\t").set_index("in_study")["in_archive"]
    assert table["sub-AB1001"].encode() in kept["split/own.tsv"]
    assert not any(salt.read_bytes().strip() in content for content in kept.values())


PLANTED = {
    "a name in the report": ("results/report/methods.md", "Thanks to Erika  MUSTERMANN.\n", "JSON sidecar", "line 1"),
    "a header's text": ("results/report/methods.md", f"\n\nfrom {DESCRIPTION}.", "image header", "line 3"),
    "a free text": ("results/report/tables/a.tsv", f"a\n{FREE_TEXT}\n", "participants.tsv", "line 2"),
    "an escaped name": ("results/report/x.html", "<p>Erika &#77;ustermann</p>", "JSON sidecar", "line 1"),
    "a listed name": ("results/models/age/docs/README.md", "By O'Brien-Smith.", "list of names", "line 1"),
    "a path in a file of the program": (
        "results/report/code/Snakefile",
        "x = '/home/erika/scans'",
        "absolute path",
        "line 1",
    ),
    "an id in a file of the program": ("results/report/code/Snakefile", "# sub-AB1003", "participant id", "line 1"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_planted_string_is_found_and_nothing_is_written(study, tmp_path, case):
    place, text, kind, where = PLANTED[case]
    path = study.results.parent / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    (tmp_path / "names.txt").write_text("O'Brien-Smith\n")
    with pytest.raises(InputError, match="was not written") as error:
        export(study, "--names", tmp_path / "names.txt")
    name = place.removeprefix("results/")
    assert re.search(rf"{re.escape(name)}: [^\n]*{kind}[^\n]*{where}", str(error.value)), error.value
    assert not (study.results.parent / "out").exists()


def _nifti(text: str) -> bytes:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
    image.header["descrip"] = text.encode()
    return gzip.compress(image.to_bytes())


def _zip(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


HIDDEN = {
    "map.nii.gz": (lambda: _nifti(PATIENT), "JSON sidecar 'Erika Mustermann' among its bytes"),
    "more.zip": (lambda: _zip("a.zip", _zip("x.txt", b"/data/erika/scans")), "more.zip!a.zip!x.txt: absolute path"),
    "named.zip": (lambda: _zip("sub-AB1002.txt", b"nothing"), "participant id 'sub-AB1002'"),
    "array.npz": (lambda: _array(id="sub-AB1004_ses-20190312"), "array.npz!id.npy: participant id"),
    "utf16.bin": (lambda: b"\xff\x00\x01" + PATIENT.encode("utf-16-le"), "JSON sidecar"),
}


def _array(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **{name: np.array(text.encode()) for name, text in arrays.items()})
    return stream.getvalue()


@pytest.mark.parametrize("name", HIDDEN)
def test_string_inside_of_another_file_is_found(study, name):
    make, expected = HIDDEN[name]
    (study.results / "models" / "age" / name).write_bytes(make())
    with pytest.raises(InputError) as error:
        export(study)
    assert expected in str(error.value)


def test_name_and_path_in_the_metadata_of_weights_are_found(study):
    metadata = {"author": PATIENT, "from": "/scratch/erika/run1"}
    write_safetensors(study.results / "models" / "age" / "models" / "model.safetensors", metadata)
    with pytest.raises(InputError) as error:
        export(study)
    assert "model.safetensors (metadata): absolute path '/scratch/erika/run1'" in str(error.value)
    assert "Erika Mustermann" in str(error.value)


def test_string_that_identifies_nobody_can_be_allowed(study):
    (study.results / "report" / "methods.md").write_text(f"Scanned in {DESCRIPTION}.")
    with pytest.raises(InputError, match="--allow"):
        export(study)
    assert export(study, "--allow", DESCRIPTION)[0].is_file()


def test_without_the_cohort_nothing_can_be_checked_or_written(study):
    shutil.rmtree(study.data)
    with pytest.raises(InputError, match=r"own/scans\.tsv is not there"):
        export(study)


def test_archive_is_verified_without_the_study(study):
    archive, _ = export(study)
    for folder in (study.results, study.data, study.splits):
        shutil.rmtree(folder)
    for more in ((), ("--baselines",)):
        done = run("verify", archive, *more)
        assert done.exit_code == 0 and "FAIL" not in done.output
    recorded = pd.read_csv(io.BytesIO(contents(archive)["experiments/age/metrics.tsv"]), sep="\t")
    assert f"{len(recorded)} rows computed again, {len(recorded)} to the last digit" in done.output
    frozen = json.loads(contents(archive)[MANIFEST])["files"]
    sealed = next(one for name, one in frozen.items() if "_frozen/" in name)
    assert sealed["seal"][:12] in done.output and sealed["original_seal"][:12] in done.output
    assert sealed["seal"] != sealed["original_seal"]


def resealed(files) -> None:
    """Write the hashes of changed files into the manifest, as a careful forger would."""
    import hashlib

    manifest = json.loads(files[MANIFEST])
    for name in manifest["files"]:
        manifest["files"][name]["sha256"] = hashlib.sha256(files[name]).hexdigest()
    files[MANIFEST] = json.dumps(manifest).encode()


def _replace(name, old, new, seal=True):
    def change(files):
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)
        if seal:
            resealed(files)

    return change


TAMPERED = {
    "README.md": (_replace("README.md", b"original", b"other", seal=False), "hashes: README.md was changed"),
    "metrics": (
        _replace("experiments/age/metrics.tsv", b"\t3.35\t", b"\t3.05\t"),
        "age: metrics: network own held-out all mae is",
    ),
    "predictions": (_replace("experiments/age/predictions.tsv", b"held-out", b"external"), "age: metrics"),
    "column": (_replace("experiments/age/metrics.tsv", b"\tci_low\t", b"\tlow\t"), "metrics.tsv lacks ci_low"),
    "split": (_replace("split/own.tsv", b"held-out", b"train"), "have another part in samples.tsv than in the split"),
    "link": (_replace("report/index.html", b"own_split", b"other"), "report: index.html: tables/other.tsv"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_changed_archive_fails(study, case):
    change, expected = TAMPERED[case]
    done = run("verify", changed(export(study)[0], change))
    assert done.exit_code == 1
    assert any(line.startswith("FAIL") and expected in line for line in done.output.splitlines()), done.output


def test_missing_and_added_files_fail(study):
    archive, _ = export(study)
    done = run("verify", changed(archive, lambda files: files.pop("report/index.html")))
    assert done.exit_code == 1 and "report/index.html is missing" in done.output
    done = run("verify", changed(archive, lambda files: files.update({"new.txt": b"new"})))
    assert done.exit_code == 1 and "new.txt is not in the manifest" in done.output


def test_other_file_is_no_archive(tmp_path):
    (tmp_path / "a.zip").write_text("text")
    with pytest.raises(InputError, match="can't be unpacked"):
        run("verify", tmp_path / "a.zip")
    (tmp_path / "b.zip").write_bytes(_zip("x", b"y"))
    with pytest.raises(InputError, match=re.escape(MANIFEST)):
        run("verify", tmp_path / "b.zip")


def test_same_study_and_salt_give_the_same_bytes(study, tmp_path):
    first = sha256_of(export(study, "--salt-file", tmp_path / "salt")[0])
    assert sha256_of(export(study, "--salt-file", tmp_path / "salt")[0]) == first
    write_json(study.results / "report" / "more.json", {})
    assert sha256_of(export(study, "--salt-file", tmp_path / "salt")[0]) != first
