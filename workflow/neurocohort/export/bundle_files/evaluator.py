"""The bundle's evaluator: every scan through every network, and the table of what they say."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

TABLE = "predictions.tsv"


class Evaluator:
    """Has ``run()``, as MONAI's applications expect of a bundle's evaluator.

    ``dataset``: dicts with ``scan_id`` and ``image`` (C, X, Y, Z) in levels; ``networks``: those whose predictions are averaged;
    ``standardisation``, ``postprocessing``: for each network, from levels to its input and from its outputs to predictions;
    ``inferer``: MONAI's; ``rows``: from a scan's predictions, one a network, to its rows of predictions.tsv in ``output_dir``.
    """

    def __init__(
        self,
        device: torch.device,
        dataset: Iterable[dict],
        networks: list[nn.Module],
        standardisation: list[Callable],
        inferer: Callable,
        postprocessing: list[Callable],
        rows: Callable,
        output_dir: str,
    ):
        self.device, self.dataset, self.inferer, self.rows = device, dataset, inferer, rows
        self.members = list(zip(standardisation, networks, postprocessing, strict=True))
        self.output_dir = output_dir

    def run(self) -> None:
        """Write predictions.tsv, and what else the task leaves, into the folder ``output_dir``."""
        if self.device.type == "cuda":  # as the pipeline predicts: in float32, not in ten bits of it
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        Path(self.output_dir).mkdir(parents=True, exist_ok=True)
        found = []
        for scan in self.dataset:
            levels = scan["image"]
            with torch.inference_mode():
                predictions = [self._prediction(levels, *member) for member in self.members]
            found += self.rows(scan["scan_id"], predictions, self.output_dir, levels.affine.numpy())
        path = Path(self.output_dir) / TABLE
        with open(path, "w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, list(found[0]), delimiter="\t", lineterminator="\n")
            table.writeheader()
            table.writerows(found)
        print(f"{len({row['scan_id'] for row in found})} scans: {path}")

    def _prediction(
        self, levels: torch.Tensor, standardisation: Callable, network: nn.Module, postprocessing: Callable
    ) -> torch.Tensor:
        image = standardisation(levels.clone())  # MONAI's works in place, and the next network needs the levels too
        outputs = self.inferer(image.as_tensor()[None].to(self.device), network)
        return postprocessing(outputs.float())[0].cpu()
