"""What each network of an experiment learned, and which of them are in the mean (networks.tsv)."""

from dataclasses import dataclass

import pandas as pd

from neurocohort.learning.outcomes import FIRST, NO, YES
from neurocohort.report import labels


@dataclass(frozen=True)
class Networks:
    """An experiment's networks.tsv: a row for each network, which has a fold and a seed."""

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
        """The networks that learned nothing."""
        return self.table[self.table["learned"] == NO]

    @property
    def retrained(self) -> int:
        """How many learned nothing at first and were trained again with another seed."""
        again = pd.to_numeric(self.table["attempts"], errors="coerce") > 1
        return int((again & (self.table["learned"] == YES)).sum())

    @property
    def early(self) -> pd.DataFrame:
        """The networks in the mean whose kept epoch is the first that could be kept."""
        return self.table[(self.table["edge"] == FIRST) & (self.table["used"] == YES)]

    @property
    def none_learned(self) -> bool:
        """Whether every network was judged, and none of them learned anything."""
        return self.total > 0 and len(self.failed) == self.total

    def members(self, rows: pd.DataFrame) -> str:
        """``fold 2, seed 1; fold 3, seed 1``, each with the reason where the table has one."""
        reasons = rows["reason"].astype(object).fillna("").astype(str)
        named = zip(rows["member"].astype(str), reasons, strict=True)
        return "; ".join(f"{spelt(member)}{f' ({reason})' if reason else ''}" for member, reason in named)


def networks_sentence(networks: Networks | None) -> str:
    """A sentence on networks that were left out or trained again; empty where there are none."""
    if networks is None:
        return ""
    failed = len(networks.failed)
    if networks.none_learned:
        if networks.total == 1:
            return "Its network learned nothing."
        return f"None of its {networks.total} networks learned anything."
    sentences = []
    if failed:
        of_all = f"{failed} of {labels.counted(networks.total, 'network')}"
        sentences.append(f"{of_all} learned nothing and {_is(failed)} left out.")
    if again := networks.retrained:
        sentences.append(
            f"{labels.counted(again, 'network')} learned nothing at first and {_is(again)} trained with another seed."
        )
    return " ".join(sentences)


def spelt(member: str) -> str:
    """``fold-2_seed-1`` as fold 2, seed 1; ``test-1_seed-1`` as test fold 1, seed 1."""
    return member.replace("test-", "test fold-").replace("_", ", ").replace("-", " ")


def _is(count: int) -> str:
    return "was" if count == 1 else "were"
