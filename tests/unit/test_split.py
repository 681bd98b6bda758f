"""Splits: alike in all parts, the same for good however the cohort grows, or the user's own and checked."""

import hashlib
import logging

import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.frozen_split import freeze, frozen_path, load_frozen
from neurocohort.dataset.split import split_participants
from neurocohort.dataset.split_file import read_split_file
from neurocohort.errors import InputError
from neurocohort.files import read_table, write_table

SHARES = {"train": 0.7, "validation": 0.1, "held-out": 0.2}
SETTINGS = {"validation": 0.1, "held_out": 0.2, "seed": 4, "folds": 5}


def cohort(count: int, seed: int = 0, repeats: int = 0) -> pd.DataFrame:
    """Three sites of unequal size, a third of the people with each rating; the first ``repeats`` come twice."""
    rng = np.random.default_rng(seed)
    scans = pd.DataFrame(
        {
            "participant_id": [f"sub-{i:05d}" for i in range(count)],
            "session_id": "ses-1",
            "site": rng.choice(["Guys", "HH", "IOP"], count, p=[0.5, 0.3, 0.2]),
            "age": rng.uniform(20, 86, count).round(2),
            "sex": rng.choice(["M", "F"], count),
            "dementia": rng.choice([0, 1, np.nan], count),
        }
    )
    scans = pd.concat([scans, scans.head(repeats).assign(session_id="ses-2", dementia=np.nan)], ignore_index=True)
    return scans.assign(scan_id=scans["participant_id"] + "_" + scans["session_id"])


def shuffled(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    return table.sample(frac=1, random_state=seed).reset_index(drop=True)


def unevenness(scans: pd.DataFrame, split: pd.DataFrame, column: str) -> float:
    """The largest difference between two parts (or folds) in the share of any site, sex, rating or quarter of age."""
    people = scans.drop_duplicates("participant_id").merge(split, on="participant_id").dropna(subset=[column])
    people["rating"] = people["dementia"].fillna(-1)
    people["quarter"] = pd.qcut(people["age"], 4).astype(str)
    worst = 0.0
    for name in ("site", "sex", "rating", "quarter"):
        shares = people.groupby(column)[name].value_counts(normalize=True).unstack(fill_value=0)
        worst = max(worst, float((shares.max() - shares.min()).max()))
    return worst


def against_lot(steps) -> tuple[float, float]:
    """How uneven parts and folds are in a cohort that grew in ``steps``, as shares of what drawing by lot gives; over four
    cohorts."""
    dealt, drawn = np.zeros(2), np.zeros(2)
    for seed in range(4):
        people, split = shuffled(cohort(600, seed), seed), None
        for step in steps:
            split = split_participants(people.head(step), **SETTINGS | {"seed": seed}, frozen=split)
        lot = np.random.default_rng(seed)
        for which, column in enumerate(("part", "fold")):
            dealt[which] += unevenness(people, split, column)
            drawn[which] += unevenness(people, split.assign(**{column: lot.permutation(split[column])}), column)
    return tuple(dealt / drawn)


def expect_same_for(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Everybody in both has the same part, stratum and fold in both."""
    both = sorted(set(before["participant_id"]) & set(after["participant_id"]))
    assert both
    pd.testing.assert_frame_equal(
        before.set_index("participant_id").loc[both], after.set_index("participant_id").loc[both], check_dtype=False
    )


# --- a cohort's first split ---------------------------------------------------------------------------------------


def test_parts_are_those_of_earlier_versions():
    """The digest was taken from the code before folds and frozen splits: figures of old studies hang on it."""
    split = split_participants(cohort(60), validation=0.2, held_out=0.35, seed=1, folds=4)
    parts = "".join(part[0] for part in split["part"])
    assert hashlib.sha256(parts.encode()).hexdigest()[:16] == "603fecfecc28921e"


def test_parts_have_their_shares_and_are_alike_in_age_site_sex_and_class():
    split = split_participants(cohort(600), **SETTINGS)
    assert split["part"].value_counts().to_dict() == {"train": 420, "held-out": 120, "validation": 60}
    parts, folds = against_lot([600])
    assert parts < 0.75 and folds < 0.5


@pytest.mark.parametrize("folds", [2, 5, 20])
def test_folds_divide_train_and_validation_evenly_and_leave_out_the_held_out_part(folds):
    scans = cohort(600, seed=folds)
    split = split_participants(scans, validation=0.1, held_out=0.2, seed=1, folds=folds)
    assert split.loc[split["part"] == "held-out", "fold"].isna().all()
    inside = split[split["part"] != "held-out"]
    sizes = inside["fold"].value_counts()
    assert sorted(sizes.index) == list(range(1, folds + 1)) and sizes.max() - sizes.min() <= 1
    assert inside.groupby("part")["fold"].value_counts().groupby("part").agg(lambda n: n.max() - n.min()).max() <= 3
    strata = inside.assign(group=inside["stratum"].str.split("|").str[0]).groupby("group")["fold"].value_counts()
    assert strata.groupby("group").agg(lambda counts: counts.max() - counts.min()).max() <= 2


@pytest.mark.parametrize("seed", range(5))
def test_folds_change_no_part(seed):
    scans = cohort(90, seed)
    settings = {"validation": 0.2, "held_out": 0.3, "seed": seed}
    without = split_participants(scans, **settings)
    assert without["fold"].isna().all()
    for folds in (2, 3, 10):
        split = split_participants(scans, **settings, folds=folds)
        pd.testing.assert_frame_equal(split.drop(columns="fold"), without.drop(columns="fold"))


def test_small_cohort_has_empty_folds_and_the_log_says_so(caplog):
    split = split_participants(cohort(10), validation=0.1, held_out=0.2, seed=1, folds=20)
    assert split["fold"].dropna().is_unique and split["fold"].notna().sum() == 8
    assert "20 folds and 8 participants" in caplog.text


def test_repeat_session_never_crosses_the_split():
    split = split_participants(cohort(40, repeats=12), validation=0.2, held_out=0.4, seed=3, folds=3)
    assert len(split) == 40 and split["participant_id"].is_unique


def test_split_depends_on_its_seed_and_not_on_the_order_of_rows():
    scans = cohort(60, repeats=9)
    first = split_participants(scans, **SETTINGS)
    pd.testing.assert_frame_equal(first, split_participants(shuffled(scans, 5), **SETTINGS))
    other = split_participants(scans, **SETTINGS | {"seed": 5})
    assert (first["part"] != other["part"]).any() and not first["fold"].equals(other["fold"])


def test_any_column_can_be_the_class_and_sites_may_be_numbers():
    scans = cohort(200).drop(columns="dementia")
    scans["site"] = scans["site"].map({"Guys": 1.0, "HH": 2.0})
    scans["diagnosis"] = np.random.default_rng(3).choice(["AD", "CN", "MCI"], 200, p=[0.1, 0.6, 0.3])
    split = split_participants(scans, **SETTINGS, class_column="diagnosis")
    assert split["stratum"].str.fullmatch(r"(AD|CN|MCI)\|age band \d of \d\|(1|2|\?)\|[MF]").all()
    counts = scans.merge(split, on="participant_id").groupby("diagnosis")["part"].value_counts(normalize=True)
    assert (counts.unstack() - pd.Series(SHARES)).abs().max().max() < 0.06


def test_cohort_without_age_sex_and_site_is_split_all_the_same():
    scans = cohort(20)[["participant_id", "session_id", "site"]].assign(site=None)
    split = split_participants(scans, validation=0.2, held_out=0.3, seed=1, folds=2)
    assert split["part"].value_counts().to_dict() == {"train": 10, "held-out": 6, "validation": 4}


# --- a cohort that grows ------------------------------------------------------------------------------------------

GROWTHS = {
    "one by one": range(30, 60),
    "by hundreds": (100, 200, 300, 600),
    "tenfold at once": (60, 600),
    "from a handful": (8, 9, 200),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", GROWTHS.values(), ids=GROWTHS)
def test_new_scans_never_move_an_old_participant(steps, seed):
    everybody = shuffled(cohort(max(steps), seed).drop_duplicates("participant_id"), seed)
    split = None
    for step in steps:
        grown = split_participants(everybody.head(step), **SETTINGS | {"seed": seed, "folds": 3}, frozen=split)
        assert len(grown) == step and not grown["part"].isna().any()
        if split is not None:
            expect_same_for(split, grown)
        split = grown
        for part, share in SHARES.items():
            assert abs((grown["part"] == part).sum() - share * step) < 2, f"{part} is off its share at {step}"
        sizes = grown["fold"].value_counts()
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("steps", [[60, 600], range(60, 601, 60)], ids=["at once", "in 10 steps"])
def test_grown_split_is_alike_in_all_parts_and_folds_too(steps):
    parts, folds = against_lot(steps)
    assert parts < 0.75 and folds < 0.65


def test_growth_of_one_kind_alone_is_divided_too():
    """Fifty patients of a new site join a cohort of controls: each part gets its share of them."""
    old = cohort(300).assign(dementia=0.0)
    new = cohort(350).tail(50).assign(dementia=1.0, site="new")
    frozen = split_participants(old, **SETTINGS)
    grown = split_participants(pd.concat([old, new]), **SETTINGS, frozen=frozen)
    parts = grown[grown["participant_id"].isin(new["participant_id"])]["part"].value_counts()
    assert (parts - 50 * pd.Series(SHARES)).abs().max() <= 1.5


def test_grown_split_does_not_depend_on_the_order_of_rows():
    frozen, scans = split_participants(cohort(50), **SETTINGS), cohort(90, repeats=20)
    one = split_participants(scans, **SETTINGS, frozen=frozen)
    other = split_participants(shuffled(scans, 1), **SETTINGS, frozen=shuffled(frozen, 2))
    pd.testing.assert_frame_equal(one, other)


def test_participants_who_are_gone_are_left_out_and_come_back_as_they_were():
    scans = cohort(80)
    frozen = split_participants(scans, **SETTINGS)
    fewer = split_participants(scans.tail(50), **SETTINGS, frozen=frozen)
    assert len(fewer) == 50
    expect_same_for(frozen, fewer)


def test_folds_asked_for_later_are_those_of_a_study_that_asked_at_once():
    scans = cohort(70)
    at_once = split_participants(scans, **SETTINGS)
    later = split_participants(scans, **SETTINGS, frozen=at_once.drop(columns="fold"))
    pd.testing.assert_frame_equal(at_once, later)


# --- the record ---------------------------------------------------------------------------------------------------


def settings_of(folds: int = 0) -> dict:
    return {"validation": 0.1, "held_out": 0.2, "seed": 4, "folds": folds}


def run(path, scans: pd.DataFrame, folds: int = 5) -> pd.DataFrame:
    """What the subcommand does: split around the record, and add to it."""
    split = split_participants(scans, **settings_of(folds), frozen=load_frozen(path, folds))
    freeze(path, split, folds)
    return split


@pytest.fixture
def record(tmp_path):
    return frozen_path(tmp_path / "splits", "ixi", validation=0.1, held_out=0.2, seed=4)


def test_record_says_in_its_name_which_settings_it_is_for(tmp_path, record):
    assert record.relative_to(tmp_path).as_posix() == "splits/ixi/validation-0.1_held_out-0.2_seed-4.tsv"
    assert load_frozen(record) is None


def test_record_keeps_everybody_who_was_ever_in_the_cohort(record):
    scans = cohort(100)
    first = run(record, scans.head(60))
    run(record, scans.iloc[40:100])  # an archive is missing, another is new
    again = run(record, scans)
    expect_same_for(first, again)
    frozen = load_frozen(record, 5)
    assert len(frozen) == 100
    expect_same_for(frozen, again)


def test_record_is_the_same_bytes_and_untouched_where_nothing_is_new(record):
    scans = cohort(30)
    run(record, scans)
    before, time = record.read_bytes(), record.stat().st_mtime_ns
    run(record, scans)
    run(record, scans.head(12))
    assert record.read_bytes() == before and record.stat().st_mtime_ns == time
    assert [path.name for path in record.parent.iterdir()] == [record.name]


def test_another_number_of_folds_moves_nobody_and_the_old_folds_come_back(record):
    scans = cohort(80)
    five = run(record, scans.head(60), 5)
    three = run(record, scans, 3)
    assert set(three["fold"].dropna()) == {1, 2, 3}
    pd.testing.assert_frame_equal(five[["participant_id", "part"]], three[["participant_id", "part"]].head(60))
    none = run(record, scans, 0)
    assert none["fold"].isna().all() and none["part"].equals(three["part"])
    expect_same_for(five, run(record, scans, 5))
    expect_same_for(three, run(record, scans, 3))


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("held-out", "train", 1),
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
        lambda text: text.replace("sub-00003\t", "sub-99999\t"),
        lambda text: text + "sub-00031\ttrain\tx\t1\n",
        lambda text: "",
    ],
    ids=["a part", "the hash", "a name", "a row more", "empty"],
)
def test_record_edited_by_hand_stops_with_both_ways_out(record, edit):
    run(record, cohort(30))
    record.write_text(edit(record.read_text()))
    with pytest.raises(InputError, match=r"validation-0\.1_held_out-0\.2_seed-4\.tsv.*Restore it.*`split_file`"):
        run(record, cohort(30))


def test_edited_record_is_taken_as_a_split_file_as_it_is(record, tmp_path):
    split = run(record, cohort(30))
    own = tmp_path / "own.tsv"
    text = record.read_text()
    who = split.loc[split["part"] == "train", "participant_id"].iloc[0]
    own.write_text(text.replace(f"{who}\ttrain", f"{who}\tvalidation"))
    taken = split_participants(cohort(30), **settings_of(5), frozen=read_split_file(own, cohort(30), 5))
    changed = split.assign(part=split["part"].where(split["participant_id"] != who, "validation"))
    pd.testing.assert_frame_equal(taken, changed)


def test_record_survives_other_line_ends(record):
    split = run(record, cohort(30))
    record.write_bytes(record.read_bytes().replace(b"\n", b"\r\n"))  # as version control may do
    pd.testing.assert_frame_equal(run(record, cohort(30)), split)


def test_split_that_contradicts_the_record_is_not_added(record):
    split = run(record, cohort(30))
    split.loc[3, "part"] = "train" if split.loc[3, "part"] != "train" else "held-out"
    before = record.read_bytes()
    with pytest.raises(InputError, match="sub-00003"):
        freeze(record, split, 5)
    assert record.read_bytes() == before


def test_process_killed_while_it_writes_leaves_the_old_record(record, monkeypatch):
    run(record, cohort(30))
    before = record.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(record, cohort(40))
    monkeypatch.undo()
    assert record.read_bytes() == before and len(run(record, cohort(40))) == 40


def test_split_written_and_read_again_freezes_the_same_record(record, tmp_path):
    split = run(record, cohort(30))
    write_table(tmp_path / "split.tsv", split)
    before = record.read_bytes()
    freeze(record, read_table(tmp_path / "split.tsv"), 5)
    assert record.read_bytes() == before


# --- a split file of the user's -----------------------------------------------------------------------------------

SIX = cohort(6, repeats=2)


def own_file(tmp_path, text: str, name: str = "split.tsv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_split_file_is_taken_in_any_of_the_spellings_of_a_part(tmp_path):
    text = (
        "participant_id,part\n00000,Training\nsub-00001,VAL\n00002,test\n00003,held_out\n00004,heldout\n00005,exclude\n"
    )
    split = read_split_file(own_file(tmp_path, text, "split.csv"), SIX)
    assert split["participant_id"].tolist() == sorted(SIX["participant_id"].unique())
    assert split["part"].tolist() == ["train", "validation", "held-out", "held-out", "held-out", "excluded"]


def test_split_file_gets_strata_and_the_folds_that_it_lacks(tmp_path):
    scans = cohort(60)
    parts = ["train", "validation", "held-out", "train", "train", "excluded"]
    rows = [f"{who}\t{parts[number % 6]}" for number, who in enumerate(scans["participant_id"])]
    given = read_split_file(own_file(tmp_path, "\n".join(["participant_id\tpart", *rows])), scans, 4)
    split = split_participants(scans, **settings_of(4), frozen=given)
    assert split["part"].tolist() == given["part"].tolist() and split["stratum"].notna().all()
    assert split["fold"].isna().equals(split["part"].isin(["held-out", "excluded"]))
    assert split["fold"].value_counts().to_dict() == {1: 10, 2: 10, 3: 10, 4: 10}


def test_split_file_by_scan_with_folds_is_taken(tmp_path):
    text = "participant_id\tsession_id\tpart\tfold\n00000\tses-1\ttrain\t1\n00000\tses-2\ttrain\t1\n00001\tses-1\ttrain\t2\n"
    text += "00002\tses-1\ttrain\t3\n00003\tses-1\tval\t2\n00004\tses-1\ttest\t\n00005\tses-1\ttest\tn/a\n"
    split = read_split_file(own_file(tmp_path, text), SIX, 3)
    assert split["fold"].tolist()[:4] == [1, 2, 3, 2] and split["fold"][4:].isna().all()


def test_workbook_with_numbers_for_names_is_taken(tmp_path):
    scans = cohort(6).assign(participant_id=[f"sub-{number}" for number in range(6)])
    parts = ["train", "train", "val", "test", "test", "train"]
    table = pd.DataFrame({"participant_id": range(6), "part": parts, "fold": [1, 2, 1, None, None, 2]})
    table.to_excel(tmp_path / "split.xlsx", index=False)
    split = read_split_file(tmp_path / "split.xlsx", scans)
    assert split["participant_id"].tolist() == scans["participant_id"].tolist()
    assert split["fold"].tolist()[:3] == [1, 2, 1]


def test_repeat_session_split_by_hand_stops_with_the_name(tmp_path):
    rows = [f"{scan.participant_id}\t{scan.session_id}\ttrain" for scan in SIX.itertuples()]
    rows[3], rows[4] = rows[3].replace("train", "validation"), rows[4].replace("train", "held-out")
    rows[-1] = rows[-1].replace("train", "test")  # the second session of sub-00001
    path = own_file(tmp_path, "\n".join(["participant_id\tsession_id\tpart", *rows]))
    with pytest.raises(
        InputError, match=r"1 participant\(s\) two parts: sub-00001 \(.*train in row 3, held-out in row 9"
    ):
        read_split_file(path, SIX)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("participant_id,group\n0,train\n", r"lacks the column\(s\) part"),
        ("participant_id,part\n", "no rows"),
        ("participant_id,part,part\n00000,train,test\n", "part twice"),
        (
            "participant_id,part\n00000,train\n00001,trian\n",
            "row 3: part is 'trian'; expected train, validation, held-out",
        ),
        ("participant_id,part\n00000,train\n00001,\n", "row 3: part is empty"),
        ("participant_id,part\n00000,train\n,test\n", "row 3 has no participant_id"),
        (
            "participant_id,part\n00000,train\n00001,val\n00002,test\n00004,test\nX5,test\n",
            r"lacks 2 of the cohort's 6 participants: sub-00003, sub-00005.*`excluded`.*sub-X5",
        ),
        (
            "participant_id,part\n00000,train\n00001,val\n00002,train\n00003,val\n00004,excluded\n00005,train\n",
            r"no participant of the cohort into held-out \(found: 1 excluded, 3 train, 2 validation\)",
        ),
    ],
)
def test_split_file_that_cannot_be_used_stops_with_what_to_do(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_split_file(own_file(tmp_path, text), SIX)


@pytest.mark.parametrize(
    ("folds", "study", "said"),
    [
        (["1", "2", "1", "", "", ""], 0, r"1 participant\(s\) of train and validation no fold: sub-00005"),
        (["1", "2", "1", "1", "", "2"], 0, r"held-out or excluded participant\(s\) a fold: sub-00003"),
        (["0", "1", "0", "", "", "1"], 0, "row 2: fold is '0'; expected a whole number from 1 on"),
        (["a", "1", "1", "", "", "1"], 0, "row 2: fold is 'a'"),
        (["1", "1", "3", "", "", "3"], 0, "has the folds 1, 3; expected 1 to 3"),
        (["1", "1", "1", "", "", "1"], 0, "has the folds 1; expected 1 to 2"),
        (["1", "2", "2", "", "", "1"], 5, r"has the folds 1, 2; expected 1 to 5.*split\.folds` is 5"),
    ],
)
def test_folds_that_cannot_be_used_stop_with_what_to_do(tmp_path, folds, study, said):
    parts = ["train", "train", "val", "test", "test", "train"]
    rows = [f"{number:05d},{part},{fold}" for number, (part, fold) in enumerate(zip(parts, folds, strict=True))]
    with pytest.raises(InputError, match=said):
        read_split_file(own_file(tmp_path, "\n".join(["participant_id,part,fold", *rows])), SIX, study)


def test_split_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"`split_file` names .*nowhere\.tsv"):
        read_split_file(tmp_path / "nowhere.tsv", SIX)


def test_participants_and_scans_that_the_cohort_lacks_are_noted_and_no_error(tmp_path, caplog):
    rows = [f"{who}\tses-1\ttrain" for who in SIX["participant_id"].unique()]
    rows[1], rows[2] = rows[1].replace("train", "val"), rows[2].replace("train", "test")
    rows += ["X7\tses-1\ttest", "sub-00000\tses-9\ttrain"]
    with caplog.at_level(logging.WARNING):
        split = read_split_file(own_file(tmp_path, "\n".join(["participant_id\tsession_id\tpart", *rows])), SIX)
    assert len(split) == 6
    assert "1 participant(s) that the cohort lacks: sub-X7" in caplog.text
    assert "1 scan(s) that the cohort lacks: sub-00000 ses-9" in caplog.text
