"""Whether the maps of networks that were trained on painted_lesions.py find the lesion, whose place no network was given.

    python tests/studies/attention_truth.py --results FOLDER/results

For each held-out scan with a lesion, recognised or not: the area under the ROC curve of the map for the voxels of the lesion
among those of the head (0.5 is chance), and whether the cube with the largest mean of the map contains a part of the lesion. The
map is attention for attention_mil and Grad-CAM for other networks; also of the same network with random weights. Intervals are
95 % percentile intervals of a bootstrap over participants; differences to the first network are paired.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "workflow")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from neurocohort.files import read_table  # noqa: E402
from neurocohort.learning.data import PackedImages, open_packed, packed_folders, to_input  # noqa: E402
from neurocohort.learning.model_files import Model, read_model  # noqa: E402
from neurocohort.learning.saliency import ATTENTION, attention_map, grad_cam_map, method_for  # noqa: E402
from neurocohort.learning.training import network_of  # noqa: E402
from scipy import stats  # noqa: E402

CUBE = 8  # voxels
RESAMPLES, SEED = 2000, 1
CPU = torch.device("cpu")


def roc_area(values: np.ndarray, inside: np.ndarray) -> float:
    """The probability that a voxel ``inside`` has a larger value than another one; equal values count half."""
    ranks, count = stats.rankdata(values), int(inside.sum())
    return float((ranks[inside].sum() - count * (count + 1) / 2) / (count * (inside.size - count)))


def largest_cube_hits(map_: np.ndarray, lesion: np.ndarray) -> bool:
    """Whether the cube with the largest mean of the map (X, Y, Z) has a voxel of the lesion."""
    means, hits = (_cubes(one).mean(axis=(1, 3, 5)) for one in (map_, lesion.astype(float)))
    return bool(hits.ravel()[means.argmax()] > 0)


def of_chance(head: np.ndarray, lesion: np.ndarray) -> float:
    """The fraction of the cubes with a part of the head that have a part of the lesion."""
    heads, hits = (_cubes(one).any(axis=(1, 3, 5)) for one in (head, lesion))
    return float((hits & heads).sum() / heads.sum())


def measured(model: Model, scans: pd.DataFrame, packed: PackedImages, *, untrained: bool) -> pd.DataFrame:
    """A row for each of ``scans``: area, hit and chance of its map. ``untrained``: with random weights."""
    name = model.settings.network
    torch.manual_seed(SEED)
    network = (network_of(model.settings, model.task) if untrained else model.network).eval()
    rows = []
    for pack, row in packed.places(scans):
        image, lesion = packed.image(pack, row), packed.label_map(pack, row) > 0
        inputs = iter([to_input(torch.from_numpy(image)[None], model.intensity)])
        if method_for(ATTENTION, name) == ATTENTION:
            map_ = attention_map(network, name, inputs)
        else:
            map_ = grad_cam_map(network, model.task, inputs)
        head = image[0] > 0
        row_of = {"area": roc_area(map_[head], lesion[head]), "hit": float(largest_cube_hits(map_, lesion))}
        rows.append(row_of | {"chance": of_chance(head, lesion)})
    return pd.DataFrame(rows)


def interval(values: np.ndarray, statistic: Callable[..., np.ndarray] = np.mean) -> str:
    """The mean with its interval, in words."""
    drawn = np.random.default_rng(SEED).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(statistic(values[drawn], axis=1), [2.5, 97.5])
    return f"{statistic(values):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--experiments", nargs="+", default=["attention", "whole_volume"])
    parser.add_argument("--member", default="seed-1")
    args = parser.parse_args()
    first: pd.DataFrame | None = None
    for experiment in args.experiments:
        folder = args.results / "experiments" / experiment
        samples = read_table(folder / "samples.tsv")
        scans = samples[(samples["part"] == "held-out") & (samples["target"] == 1)].reset_index(drop=True)
        packed = open_packed(packed_folders(scans, args.results), ["T1w"])
        model = read_model(folder / args.member, CPU)
        for untrained in (False, True):
            found = measured(model, scans, packed, untrained=untrained)
            label = f"{experiment}, {'random weights' if untrained else 'trained'}"
            numbers = f"area {interval(found['area'].to_numpy())}, hit {interval(found['hit'].to_numpy())}"
            print(f"{label}: {numbers}; chance of a hit {found['chance'].mean():.3f}; {len(found)} scans")
            if first is None:
                first = found
            elif not untrained:
                for name in ("area", "hit"):
                    print(
                        f"  {args.experiments[0]} minus {experiment}, {name}: {interval((first[name] - found[name]).to_numpy())}"
                    )


def _cubes(volume: np.ndarray) -> np.ndarray:
    x, y, z = (side // CUBE for side in volume.shape)
    return volume.reshape(x, CUBE, y, CUBE, z, CUBE)


if __name__ == "__main__":
    main()
