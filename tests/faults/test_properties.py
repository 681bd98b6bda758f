"""What holds for every id, cohort, filter, image and configuration, tried on examples that hypothesis draws."""

import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from arbitrary_configurations import configurations
from examples import examples
from hypothesis import assume
from hypothesis import strategies as st
from limited import limited
from neurocohort.dataset.filters import compile_filter
from neurocohort.dataset.split import PARTS, split_participants
from neurocohort.errors import InputError, ScanExcluded
from neurocohort.imaging.intensity_scale import to_common_scale
from neurocohort.sources.bids_labels import Labels, as_label
from neurocohort.study.configuration import check_configuration, read_checked

KIND = "Properties of ids, splits, filters, intensities and configurations"

# --- ids ----------------------------------------------------------------------------------------------------------

NAMES = st.one_of(
    st.text(max_size=10),
    st.text("ab01_-+. ", max_size=5),
    st.from_regex(r"(sub-)?[A-Z]{1,3}_?-?[0-9]{1,4}", fullmatch=True),
)


@examples(300, names=st.lists(NAMES, min_size=1, max_size=8))
def test_every_id_becomes_a_valid_label_or_is_refused_and_no_two_become_one(names):
    labels, by_label = Labels("sub-", "table.csv"), {}
    for name in names:
        label = as_label(name, "sub-")
        assert as_label(name, "sub-") == label
        if label is None:
            assert labels.of(name) is None
            continue
        assert re.fullmatch(r"sub-[A-Za-z0-9+]+", label)
        assert as_label(label, "sub-") == label, "a label is its own label"
        meant = name.strip().removeprefix("sub-")
        if by_label.setdefault(label, meant) == meant:
            assert labels.of(name) == label
        else:
            with pytest.raises(InputError, match="both"):
                labels.of(name)
    assert {name for _, name in labels.changed()} <= {*by_label}


# --- the split ----------------------------------------------------------------------------------------------------


@st.composite
def cohorts(draw):
    """scans.tsv of 3 to 60 people with one to three sessions, some values missing."""
    rows = []
    for number in range(draw(st.integers(3, 60))):
        person = {
            "participant_id": f"sub-{number:02d}",
            "age": draw(st.one_of(st.none(), st.integers(18, 90))),
            "sex": draw(st.sampled_from(["M", "F", None])),
            "site": draw(st.sampled_from(["a", "b", "c"])),
            "dementia": draw(st.sampled_from([0, 0, 1, None])),
        }
        rows += [person | {"session_id": f"ses-{session}"} for session in range(1, draw(st.integers(1, 3)) + 1)]
    return pd.DataFrame(rows).astype({"age": float, "dementia": float})


SHARES = st.tuples(st.integers(1, 45), st.integers(1, 45)).map(lambda percents: (percents[0] / 100, percents[1] / 100))


@examples(
    60,
    scans=cohorts(),
    shares=SHARES,
    seed=st.integers(0, 2**32 - 1),
    folds=st.sampled_from([0, 2, 5]),
    draw=st.randoms(),
)
def test_everybody_is_in_one_part_of_the_asked_size_whatever_the_order_of_the_rows(scans, shares, seed, folds, draw):
    options = {"validation": shares[0], "held_out": shares[1], "seed": seed, "folds": folds}
    split = split_participants(scans, **options)
    assert split["participant_id"].tolist() == sorted(set(scans["participant_id"]))
    assert set(split["part"]) <= {*PARTS}
    order = draw.sample(range(len(scans)), len(scans))
    pd.testing.assert_frame_equal(split_participants(scans.iloc[order], **options), split)
    asked = dict(zip(PARTS, (1 - sum(shares), *shares), strict=True))
    people = split.merge(scans.drop_duplicates("participant_id"), on="participant_id")
    for part, share in asked.items():
        assert abs((people["part"] == part).sum() - share * len(people)) < 1.5
        for _, group in people.groupby("dementia", dropna=False):
            assert abs((group["part"] == part).sum() - share * len(group)) < 3
    inside = split[split["part"] != "held-out"]
    assert inside["fold"].notna().all() == bool(folds) or inside.empty
    if folds:
        sizes = inside["fold"].value_counts().reindex(range(1, folds + 1), fill_value=0)
        assert sizes.max() - sizes.min() <= 1
    # Later participants change nobody's part.
    half = scans[scans["participant_id"] < "sub-15"]
    earlier = split_participants(half, **options)
    later = split_participants(scans, frozen=earlier, **options)
    pd.testing.assert_frame_equal(later[later["participant_id"] < "sub-15"].reset_index(drop=True), earlier)


# --- filters ------------------------------------------------------------------------------------------------------

ROW = st.fixed_dictionaries(
    {
        "age": st.one_of(st.none(), st.just(math.nan), st.integers(0, 4).map(float)),
        "height": st.integers(0, 4),
        "sex": st.sampled_from(["M", "F", None]),
        "site": st.sampled_from(["a", "b"]),
    }
)
ORDERS = {"<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b}


def is_missing(value: object) -> bool:
    return value is None or value != value


@st.composite
def comparisons(draw):
    """A comparison as text, and a function of a row that says what it means."""
    numbers = draw(st.booleans())
    name = draw(st.sampled_from(["age", "height", "absent"] if numbers else ["sex", "site", "absent"]))
    values = draw(
        st.lists(st.integers(-1, 4) if numbers else st.sampled_from(["M", "F", "a", "b"]), min_size=1, max_size=3)
    )
    value = values[0]
    match draw(st.sampled_from(["order", "turned", "chain", "equal", "unequal", "in", "not in"])):
        case "order":
            sign = draw(st.sampled_from([*ORDERS]))
            return (
                f"{name} {sign} {value!r}",
                lambda row: not is_missing(row.get(name)) and ORDERS[sign](row[name], value),
            )
        case "turned":
            sign = draw(st.sampled_from([*ORDERS]))
            return (
                f"{value!r} {sign} {name}",
                lambda row: not is_missing(row.get(name)) and ORDERS[sign](value, row[name]),
            )
        case "chain":
            return (
                f"{value!r}<={name}<{values[-1]!r}",
                lambda row: not is_missing(row.get(name)) and value <= row[name] < values[-1],
            )
        case "equal":
            return f"{name}=={value!r}", lambda row: not is_missing(row.get(name)) and row[name] == value
        case "unequal":
            return f"{name} != {value!r}", lambda row: is_missing(row.get(name)) or row[name] != value
        case "in":
            return f"{name} in {values!r}", lambda row: not is_missing(row.get(name)) and row[name] in values
    return f"{name} not in {values!r}", lambda row: is_missing(row.get(name)) or row[name] not in values


def joined(below: st.SearchStrategy) -> st.SearchStrategy:
    pairs = st.tuples(below, below)
    return st.one_of(
        below.map(lambda one: (f"not ({one[0]})", lambda row: not one[1](row))),
        pairs.map(lambda two: (f"({two[0][0]}) and ({two[1][0]})", lambda row: two[0][1](row) and two[1][1](row))),
        pairs.map(lambda two: (f"({two[0][0]}) or ({two[1][0]})", lambda row: two[0][1](row) or two[1][1](row))),
    )


@examples(400, filters=st.recursive(comparisons(), joined, max_leaves=6), row=ROW)
def test_a_filter_keeps_the_scans_that_it_says(filters, row):
    text, holds = filters
    assert compile_filter(text)(row) is bool(holds(row))


WORDS = "age sex site ( ) [ ] , < <= == != in not and or - + 1 'M' \" 1e999 None True lambda : := . * f'{age}' \\ is if # 0x"
TOKENS = [*WORDS.split(" "), "9" * 400, "9" * 5000, "1j", "b'a'", "...", "é", "\n", "\0"]
REPEATED = st.sampled_from(["not ", "-", "(", "[", "age<", "{", "age==1 or ", "1 if "]).flatmap(
    lambda word: st.sampled_from([1, 30, 90, 400, 20_000, 300_000]).map(lambda times: word * times + "age == 1")
)
FILTER_TEXTS = st.one_of(st.lists(st.sampled_from(TOKENS), max_size=9).map(" ".join), st.text(max_size=20), REPEATED)


@examples(500, text=FILTER_TEXTS, row=ROW)
def test_any_text_is_a_filter_or_is_refused_at_once(text, row):
    try:
        with limited(60):
            assert compile_filter(text)(row) in (True, False)
    except InputError as error:
        assert str(error)


# --- intensities --------------------------------------------------------------------------------------------------

SPACING_MM = np.array([4.0, 4.0, 4.0])


@st.composite
def heads(draw):
    """A small ball of three tissues in air, of one value or with noise, float64 between 0 and some 1000."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    index = np.indices((22, 24, 20)) - np.array([11, 12, 10])[:, None, None, None]
    radius = np.sqrt((index**2).sum(axis=0))
    tissues = draw(st.tuples(st.integers(150, 400), st.integers(401, 700), st.integers(701, 1000)))
    signal = np.select([radius < 4, radius < 7, radius < 9], [float(one) for one in tissues[::-1]], 0.0)
    signal += (signal > 0) * random.normal(0, 15, signal.shape)
    noise = draw(st.sampled_from([0.0, 8.0]))
    return np.hypot(signal + noise * random.normal(size=signal.shape), noise * random.normal(size=signal.shape))


FACTORS = st.one_of(st.floats(1e-6, 1e6), st.sampled_from([1e-38, 1e-30, 1e30, 1e34, 3e35, 1.0, 0.1]))
OFFSETS = st.one_of(
    st.floats(-3, 3), st.sampled_from([-1.0, 0.0, 1.0, -1000.0, 1e5, 1e8])
)  # in units of the head's range


@examples(120, head=heads(), factor=FACTORS, offset=OFFSETS)
def test_any_scale_and_offset_is_read_as_the_same_image_or_excluded(head, factor, offset):
    scaled = head * factor + offset * 1000 * factor
    assume(np.abs(scaled).max() < 3.4e38)
    try:
        found = to_common_scale(scaled.astype(np.float32), SPACING_MM)
    except ScanExcluded as exclusion:
        assert exclusion.stage == "read" and exclusion.reason
        assert abs(offset) > 100 or factor < 1e-36, "only a large offset, or the smallest numbers, cost values"
        return
    expected = to_common_scale(head.astype(np.float32), SPACING_MM)
    assert np.isfinite(found).all() and found.min() >= 0
    found, expected = (image / np.percentile(image, 99.5) for image in (found, expected))
    # What the rounding to 32 bits costs: a step at the largest number, and at the smallest.
    step = (np.spacing(np.float32(np.abs(scaled).max())) + 1.5e-45) / (1000 * factor)
    np.testing.assert_allclose(found, expected, atol=2e-5 + 6 * step)


# --- configurations -----------------------------------------------------------------------------------------------

FILES = itertools.count()


@examples(400, text=configurations())
def test_any_configuration_is_valid_or_refused_with_its_key(text, folder):
    path = folder / f"study{next(FILES) % 2}.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        with limited(60):
            checked = read_checked([path])
    except InputError as error:
        assert str(path) in str(error) and (
            "`" in str(error) or " line " in str(error) or "configuration" in str(error)
        ), error
    else:
        assert check_configuration(checked, source="again") == checked
        assert re.fullmatch(r"[A-Za-z0-9._-]+", checked["study"])
