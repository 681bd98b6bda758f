"""What each network of an experiment learned, and which of them are in the mean: networks.tsv, as the page reports it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.learning.outcomes import FIRST, NO, YES
from neurocohort.report import labels

FILE = "networks.tsv"
COLUMNS = ("member", "attempts", "epochs", "best_epoch", "spread", "least_spread", "edge", "learned", "used", "reason")


@dataclass(frozen=True)
class Networks:
    """The rows of an experiment's networks.tsv, one a network (a fold and seed)."""

    table: pd.DataFrame

    @property
    def total(self) -> int:
        return len(self.table)

    @property
    def used_members(self) -> set[str]:
        """The members that are in the mean."""
        return set(self.table.loc[self.table["used"] == YES, "member"])

    @property
    def used(self) -> int:
        """How many are in the mean."""
        return len(self.used_members)

    @property
    def failed(self) -> pd.DataFrame:
        """Those that learned nothing."""
        return self.table[self.table["learned"] == NO]

    @property
    def retrained(self) -> int:
        """Those whose first training learned nothing and whose weights are of another seed."""
        again = pd.to_numeric(self.table["attempts"], errors="coerce") > 1
        return int((again & (self.table["learned"] == YES)).sum())

    @property
    def early(self) -> pd.DataFrame:
        """Those in the mean whose kept epoch is the first that could be kept."""
        return self.table[(self.table["edge"] == FIRST) & (self.table["used"] == YES)]

    @property
    def none_learned(self) -> bool:
        """Whether every network was judged, and none of them learned anything."""
        return self.total > 0 and len(self.failed) == self.total

    def members(self, rows: pd.DataFrame) -> str:
        """``fold 2, seed 1; fold 3, seed 1``, each with the reason where the table has one."""
        told = []
        for row in rows.to_dict("records"):
            reason = "" if pd.isna(row["reason"]) else str(row["reason"])
            told.append(f"{spelt(str(row['member']))}{f' ({reason})' if reason else ''}")
        return "; ".join(told)


def networks_of(results: Path, experiment: str) -> Networks | None:
    """The networks of an experiment; None where networks.tsv is absent or incomplete (the page boxes the file)."""
    try:
        return Networks(read_table(results / "experiments" / experiment / FILE, COLUMNS))
    except InputError:
        return None


def networks_sentence(networks: Networks | None) -> str:
    """What a reader has to know of them beside the figures: networks left out or trained again; else nothing."""
    if networks is None:
        return ""
    failed = len(networks.failed)
    if networks.none_learned:
        if networks.total == 1:
            return "Its network learned nothing."
        return f"None of its {networks.total} networks learned anything."
    said = []
    if failed:
        of_all = f"{failed} of {labels.counted(networks.total, 'network')}"
        said.append(f"{of_all} learned nothing and {_is(failed)} left out.")
    if again := networks.retrained:
        said.append(
            f"{labels.counted(again, 'network')} learned nothing at first and {_is(again)} trained with another seed."
        )
    return " ".join(said)


def spelt(member: str) -> str:
    """``fold-2_seed-1`` as fold 2, seed 1."""
    return member.replace("_", ", ").replace("-", " ")


def _is(count: int) -> str:
    return "was" if count == 1 else "were"
