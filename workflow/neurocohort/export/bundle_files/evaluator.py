"""The bundle's evaluator: it applies every network to every scan and writes the table of predictions."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

TABLE = "predictions.tsv"
LEFT_RIGHT = -3  # the axis of a volume, (..., X, Y, Z)


class Member(NamedTuple):
    """A network with the functions before it (from levels to its input) and after it (from its outputs to predictions).

    ``mirrored_labels``: of a segmentation, the label of each label in the mirror image; None where all keep theirs.
    """

    standardisation: Callable
    network: nn.Module
    postprocessing: Callable
    mirrored_labels: list[int] | None = None


def members_of(
    networks: list[nn.Module],
    standardisation: list[Callable],
    postprocessing: list[Callable],
    mirrored_labels: list[int] | None = None,
) -> list[Member]:
    """The members from lists with one entry per network."""
    parts = zip(standardisation, networks, postprocessing, strict=True)
    return [Member(*of_network, mirrored_labels) for of_network in parts]


class Evaluator:
    """The evaluator, with ``run()``, as MONAI's applications expect of a bundle."""

    def __init__(
        self,
        device: torch.device,
        dataset: Iterable[dict],
        members: list[Member],
        inferer: Callable,
        rows: Callable,
        output_dir: str,
        mirror_averaging: bool = False,
    ):
        """Store the parts.

        Args:
            device: Where the networks are.
            dataset: Mappings with ``scan_id`` and ``image``, (C, X, Y, Z) in levels.
            members: The networks whose predictions are averaged.
            inferer: One of MONAI's.
            rows: From a scan's predictions, one per network, to its rows of predictions.tsv.
            output_dir: The folder of predictions.tsv and of other files of the task.
            mirror_averaging: Whether a prediction is the mean of those for the scan and for its mirror image.
        """
        self.device, self.dataset, self.members = device, dataset, members
        self.inferer, self.rows, self.output_dir = inferer, rows, output_dir
        self.mirror_averaging = mirror_averaging

    def run(self) -> None:
        """Write predictions.tsv, and the other files of the task, into the folder ``output_dir``."""
        if self.device.type == "cuda":  # as the workflow predicts: in full float32, without TF32
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        Path(self.output_dir).mkdir(parents=True, exist_ok=True)
        found = []
        for scan in self.dataset:
            levels = scan["image"]
            with torch.inference_mode():
                predictions = [self._prediction(levels, member) for member in self.members]
            found += self.rows(scan["scan_id"], predictions, self.output_dir, levels.affine.numpy())
        path = Path(self.output_dir) / TABLE
        with open(path, "w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, list(found[0]), delimiter="\t", lineterminator="\n")
            table.writeheader()
            table.writerows(found)
        print(f"{len({row['scan_id'] for row in found})} scans: {path}")

    def _prediction(self, levels: torch.Tensor, member: Member) -> torch.Tensor:
        image = member.standardisation(levels.clone())  # it works in place, and the next network needs the levels too
        inputs = image.as_tensor()[None].to(self.device)
        found = member.postprocessing(self.inferer(inputs, member.network).float())[0]
        if self.mirror_averaging:
            mirrored = member.postprocessing(self.inferer(inputs.flip(LEFT_RIGHT), member.network).float())[0]
            if mirrored.ndim > 2:  # a map is mirrored back
                mirrored = mirrored.flip(LEFT_RIGHT)
                mirrored = mirrored if member.mirrored_labels is None else mirrored[member.mirrored_labels]
            found = (found + mirrored) / 2
        return found.cpu()
