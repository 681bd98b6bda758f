"""Ids are found as whole words, in every usual spelling, and never in numbers or common words."""

import base64
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.errors import InputError
from neurocohort.handover.contents import pieces
from neurocohort.handover.identifiers import HEADER, SIDECAR, free_texts, image_texts, names_in, paths_in
from neurocohort.handover.pseudonyms import Pseudonyms, read_salt
from neurocohort.handover.strings import Strings


def strings(*labels, sessions=()):
    found = Strings()
    for label in labels:
        found.add_id("sub", label, "participant id")
    for label in sessions:
        found.add_id("ses", label, "session id")
    return found


def texts(found, text, **options):
    return [one.text for one in found.find(text, **options)]


@pytest.mark.parametrize(
    ("label", "text", "expected"),
    [
        ("OAS10001", "sub-OAS10001_ses-1 and OAS1_0001_MR1, oas10001.", ["sub-OAS10001", "OAS1_0001", "oas10001"]),
        ("OAS10001", "sub-OAS100011 XOAS10001 OAS1 0001", []),
        ("OAS10001", "OAS1_0309 is of the same form", ["OAS1_0309"]),
        ("0042", "sub-0042, 0042, 1.0042 and 00421", ["sub-0042"]),
        ("123456", "123456, 65.123456, 123456.5 and -123456", ["123456", "123456"]),
        ("control", "sub-control is one of the control group", ["sub-control"]),
        ("Nordfeld", "sub-Nordfeld, nordfeld and Nordfelder", ["sub-Nordfeld", "nordfeld"]),
        ("T1", "T1 T1w T-1 sub-T1_T1w", ["sub-T1"]),
        ("12", "12 people, sub-12, sub-123", ["sub-12"]),
    ],
)
def test_ids_are_whole_words(label, text, expected):
    assert texts(strings(label), text) == expected


def test_sessions_are_found_with_their_prefix_alone():
    assert texts(strings(sessions=["1", "20190312"]), "ses-1 1 ses-20190312 session 1 ses-12") == [
        "ses-1",
        "ses-20190312",
    ]


@pytest.mark.parametrize(
    "path", ["/home/me/x", "/data/bids/sub", "file:///data/bids", r"C:\Users\me", "/work/a-b/c_d.nii.gz"]
)
@pytest.mark.parametrize("frame", ["{}", '"path": "{}",', "<td>{}</td>", "in {}, or", "host:{}", "--data={}"])
def test_absolute_paths_are_found(path, frame):
    assert texts(Strings(), frame.format(path)) == [path]


@pytest.mark.parametrize(
    "text",
    [
        "https://doi.org/10.1/abc",
        "</a></td>",
        "n/a/b",
        "results/a/b",
        "../a/b",
        "text/html",
        "#!/usr/bin/env bash",
        "1/2/3",
        "${X}/a/b",
    ],
)
def test_other_slashes_are_no_paths(text):
    assert texts(Strings(), text) == []


def test_known_paths_are_found_with_spaces_and_not_in_longer_words():
    found = Strings()
    for path in ("/root", "/data/my scans"):
        found.add_path(path)
    text = "in /root or '/data/my scans', not in a/root, /rootless or /data"
    assert texts(found, text)[:2] == ["/root", "/data/my scans"]
    assert (
        Pseudonyms(found, b"salt")
        .rewritten(text)
        .startswith("in path-removed or 'path-removed', not in a/root, /rootless")
    )


def test_short_texts_and_words_of_the_program_are_not_looked_for():
    found = Strings()
    for text in ("T1w", "root", "abc", "12345", "", "MRI"):
        found.add_phrase(text, "text of an image header")
    assert found.phrases == {}
    found.add_phrase("root", "name", listed=True)
    found.add_phrase("Will", "patient", person=True)
    found.add_phrase("12", "patient", person=True)
    found.add_phrase("moved to the north of the city", "free text")
    assert texts(found, "root 12: Will moved to the North of the  city") == [
        "root",
        "Will",
        "moved to the North of the  city",
    ]


def test_short_ids_are_not_looked_for_among_random_bytes():
    assert texts(strings("AB12", "CD3456"), "xx AB12 yy CD3456", binary=True) == ["CD3456"]
    assert not [
        piece
        for piece in pieces("x", np.random.default_rng(1).bytes(100_000))
        if list(strings("AB12").find(piece.text, binary=True))
    ]


def test_base64_is_searched_and_left_as_it_is():
    secret = base64.b64encode(b"the scan of sub-XY12345, and more text to make it long enough" * 5).decode()
    page = f'<img src="data:image/png;base64,{secret}"> XY12345'
    found = strings("XY12345")
    assert [piece.where for piece in pieces("p", page.encode()) for _ in found.find(piece.text)][:2] == [
        "p (base64 in it)"
    ] * 2
    assert secret in Pseudonyms(found, b"salt").rewritten(page)


def test_dates_become_years_and_numbers_stay():
    rewritten = Pseudonyms(Strings(), b"salt").rewritten
    text = '"2026-11-28T02:03:54+00:00", 28 November 2026, 2019-03-12 10:11, 2019-13-45, 1.2019, 20240725, v2-2019-03'
    assert rewritten(text) == '"2026", 2026, 2019, 2019-13-45, 1.2019, 20240725, v2-2019-03'


def test_ids_that_differ_in_case_alone_are_refused():
    with pytest.raises(InputError, match="sub-ab1 and sub-AB1 differ only"):
        strings("ab1", "AB1")


def test_texts_of_an_image_and_its_sidecar(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
    image.header["descrip"], image.header["db_name"], image.header["aux_file"] = b"made by Eve", b"dbone", b"eve.img"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"of Bob"))
    nib.save(image, tmp_path / "a.nii.gz")
    sidecar = {
        "PatientName": "Ann",
        "Nested": {"InstitutionName": "North"},
        "EchoTime": 1,
        "Manufacturer": "S",
        "PatientSex": "F",
    }
    (tmp_path / "a.json").write_text(json.dumps(sidecar | {"AcquisitionTime": "10:32:11"}))
    found = list(image_texts(tmp_path / "a.nii.gz"))
    assert [text for kind, text, _ in found if kind == HEADER] == ["made by Eve", "eve.img", "dbone", "of Bob"]
    assert [text for kind, text, _ in found if kind == SIDECAR] == ["Ann", "North", "10:32:11"]
    assert [text for _, text, certain in found if certain] == ["Ann"]
    (tmp_path / "b.nii.gz").write_bytes(b"none")
    with pytest.raises(InputError, match=r"header of .*b\.nii\.gz can't be read"):
        list(image_texts(tmp_path / "b.nii.gz"))


def test_free_texts_of_participants_are_sentences_that_few_share():
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{number}" for number in range(5)],
            "site": ["a site of one", *["b"] * 4],
            "job": ["works in an office"] * 5,
            "remark": ["was late for scan", None, "good", "good", "fine"],
        }
    )
    assert list(free_texts(table)) == ["was late for scan"]


def test_paths_of_a_configuration_and_names_of_a_list(tmp_path):
    assert list(paths_in({"a": [{"path": "/data/my scans"}], "b": "rel/x", "c": 1})) == ["/data/my scans"]
    (tmp_path / "names.txt").write_text("Ann Lee\n\n Bob \n", encoding="utf-8")
    assert names_in(tmp_path / "names.txt") == ["Ann Lee", "Bob"]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="has no line"):
        names_in(tmp_path / "empty.txt")


def test_salt_that_is_none_is_refused(tmp_path):
    (tmp_path / "salt").write_text("secret")
    with pytest.raises(InputError, match="hexadecimal"):
        read_salt(tmp_path / "salt")
    (tmp_path / "salt").write_text("ab")
    with pytest.raises(InputError, match="salt of 1 bytes"):
        read_salt(tmp_path / "salt")
