"""The card of a verdict on the page: its words, its numbers, and two intervals on one axis."""

from dataclasses import dataclass

from neurocohort.report import labels
from neurocohort.report.gates import Gate
from neurocohort.report.headline import BASELINE_PHRASES, Figure, Verdict

SYMBOLS = {"pass": "✓", "warn": "≈", "fail": "✗", "missing": "!"}  # by the verdict's state
JUDGEMENT_WORDS = {
    "better": "Better than the trivial baseline",
    "unclear": "Better, but the paired interval includes 0",
    "no interval": "Better, but without an interval",
    "no better": "No better than the trivial baseline",
    "nothing learned": "The networks learned nothing",
    "missing": "No verdict",
}


@dataclass(frozen=True)
class Bar:
    """A value and its interval on the card's axis, in percent of its length. ``kind``: ``network`` or ``baseline``."""

    kind: str
    at: float
    left: float
    width: float


@dataclass(frozen=True)
class Card:
    """A verdict, its gates, and the sentence on the difference to the best baseline, empty without one."""

    verdict: Verdict
    gates: list[Gate]
    difference: str

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.verdict.state]

    @property
    def words(self) -> str:
        return JUDGEMENT_WORDS[self.verdict.judgement]

    @property
    def title(self) -> str:
        return labels.spaced(self.verdict.experiment)

    @property
    def metric(self) -> labels.Metric:
        return labels.metric(self.verdict.metric)

    @property
    def baseline_phrase(self) -> str:
        return BASELINE_PHRASES[self.verdict.headline.trivial]

    def number(self, figure: Figure) -> str:
        """The value of a figure."""
        return labels.number(figure.value, self.metric.decimals)

    def interval(self, figure: Figure) -> str:
        """The interval of a figure; empty where it is missing."""
        return labels.interval(figure.low, figure.high, self.metric.decimals)

    @property
    def axis(self) -> tuple[float, float]:
        """Where the axis starts and ends."""
        known = [number for figure in self._figures for number in _numbers(figure)]
        if self.verdict.metric == "mae":
            return 0.0, max(known) * 1.05 or 1.0
        return min(0.4, *known), 1.0

    @property
    def bars(self) -> list[Bar]:
        return [self._bar(kind, one) for kind, one in zip(("network", "baseline"), self._figures, strict=True)]

    @property
    def _figures(self) -> list[Figure]:
        return [one for one in (self.verdict.network, self.verdict.trivial) if one]

    def _bar(self, kind: str, figure: Figure) -> Bar:
        start, end = self.axis
        ends = [figure.value if number is None else number for number in (figure.value, figure.low, figure.high)]
        at, low, high = (round(100 * (number - start) / (end - start), 2) for number in ends)
        return Bar(kind, at, low, round(high - low, 2))


def _numbers(figure: Figure) -> list[float]:
    return [number for number in (figure.value, figure.low, figure.high) if number is not None]
