"""What is made of what a net was found to look at: figures, files, words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..data import Dataset
from ..run import replacing
from . import pictures
from .controls import CONTROLS
from .gradient import goodness_gradients
from .methods import METHODS, Saliency, against_all, shown
from .occlusion import ADS
from .perturbation import perturbation
from .rows import Row, table
from .scorer import Scorer

WINDOWED = ("ads", "occlusion")  # methods that cover the image
MEASURES = {
    "faithfulness": "Deletion, insertion and flipping: the area under the curve of the true class's probability. "
                    "mu-fidelity: the correlation of the sum of a map over random pixels with what covering these changes.",
    "randomisation": "The rank correlation of each image's map with its map for a wrong class (random label), and with its map "
                     "by the net with some layers drawn anew (MPRT); 1 for any map that never looks at the net.",
    "retraining": "Data randomisation: the rank correlation of each image's map with its map by a net trained on permuted "
                  "labels. ROAR: the accuracy, on all test images, of nets trained anew on images without the highest pixels "
                  "of their maps.",
}


class Sight(NamedTuple):
    """The images looked at, x (n, I) with labels y (n,), those that figures show, and the window that covers them."""

    data: Dataset
    x: np.ndarray
    y: np.ndarray
    few: np.ndarray
    window: tuple[int, int]
    stride: tuple[int, int]


class Found(NamedTuple):
    """Of one net: its methods, the `maps` they make of all images (n, height, width), and what else came with them."""

    score: Scorer
    accuracy: float
    methods: dict[str, Saliency]
    maps: dict[str, np.ndarray]
    ads: ADS | None
    gap: np.ndarray | None


def tell(name: str, net: Found, seen: Sight) -> None:
    """The accuracy of the net on these images, and how complete integrated gradients are."""
    print(f"{name}: {net.accuracy:.2%} of {len(seen.y)} test images of {seen.data.name} right by {net.score.read_out}")
    if net.gap is not None:
        change = np.abs(np.nansum(net.maps["ig"], axis=(1, 2)) - net.gap).mean()
        gap = np.abs(net.gap).mean()
        share = f", {100 * gap / change:.3g} % of the mean |S(x) - S(0)|" if change else ""
        print(f"{name}: mean completeness gap of integrated gradients {gap:.3g}{share}")


def draw(nets: Mapping[str, Found], seen: Sight, per_class: bool, out: Path) -> None:
    """All figures of maps."""
    for name, net in nets.items():
        for kind, figure in figures(name, net, seen).items():
            save(figure, out / f"{name}-{kind}.png")
        if per_class and net.ads:
            title = f"{name} on {seen.data.name}: accuracy lost under a window (ADS)"
            says = f"{about(net, seen)} {cover(seen)}"
            save(pictures.class_maps_figure(net.ads, seen.data.classes, title, says), out / f"{name}-classes.png")
    of_all = {name: net.ads for name, net in nets.items() if net.ads}
    if len(nets) > 1:
        says = f"{images(seen)} {cover(seen)} {each_made(nets)}"
        title = f"Accuracy lost under a window (ADS), on {seen.data.name}"
        save(pictures.side_by_side(of_all, seen.data.classes, title, says), out / "side-by-side.png")


def figures(name: str, net: Found, seen: Sight) -> dict[str, Figure]:
    """Of one net: kind -> figure."""
    found, title, says = {}, f"{name} on {seen.data.name}", about(net, seen)
    few, labels = seen.x[seen.few].reshape(-1, *seen.data.shape), rows_of(net, seen)
    if net.maps:
        done = "; ".join(f"{method}: {METHODS[method].says}" for method in net.maps)
        maps = {method: maps[seen.few] for method, maps in net.maps.items()}
        words = f"{says} The maps explain the true class. {done}. {cover(seen) if set(WINDOWED) & set(maps) else ''}"
        found["maps"] = pictures.maps_figure(few, maps, labels, f"{title}: what speaks for the class", words)
    if "goodness" in net.maps:
        found["layers"] = layers_figure(net.score, few, labels, seen, title, says)
    if "pepita" in net.maps:
        differences = perturbation(net.score, seen.x[seen.few], seen.y[seen.few]).differences
        found["perturbation"] = pictures.pepita_figure(few, net.maps["pepita"][seen.few], differences, labels,
                                                       f"{title}: what PEPITA adds to the image", says)
    return found


def rows_of(net: Found, seen: Sight) -> list[str]:
    """What the rows of a figure are called: the true class, and what the net takes the image for, if for another."""
    pairs = zip(seen.y[seen.few], net.score(seen.x[seen.few]).argmax(axis=1), strict=True)
    classes = seen.data.classes
    return [classes[true] + ("" if true == taken else f"\nread as\n{classes[taken]}") for true, taken in pairs]


def layers_figure(score: Scorer, few: np.ndarray, labels: Sequence[str], seen: Sight, title: str, says: str) -> Figure:
    """Of the method goodness what each layer adds to it."""
    score, x, y = replace(score, read_out="goodness", layers=()), seen.x[seen.few], seen.y[seen.few]
    maps = np.stack([shown(score, x * layer) for layer in goodness_gradients(score, x, against_all(score, y))])
    words = f"{says} For each layer, x times the gradient of its goodness, of the true class less the mean of all classes."
    return pictures.layer_maps_figure(few, maps, labels, score.layers, f"{title}: layer by layer", words)


def about(net: Found, seen: Sight) -> str:
    """What a stranger has to know of a figure of one net."""
    layers = net.score.layers
    added_up = f" of layer{'s' * (len(layers) > 1)} {' + '.join(map(str, layers))}" if layers else ""
    return f"The net: {made(net)}. {images(seen)} {net.accuracy:.1%} of them are right by {net.score.read_out}{added_up}."


def made(net: Found) -> str:
    history, epochs = net.score.run.history, len(net.score.run.history["epochs"])
    return (f"preset {history['preset']} with layers {'-'.join(map(str, history['sizes']))}, "
            f"{epochs} epoch{'s' * (epochs > 1)} on {history['data']}, seed {history['seed']}")


def each_made(nets: Mapping[str, Found]) -> str:
    return " ".join(f"{name}: {made(net)}." for name, net in nets.items())


def size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def images(seen: Sight) -> str:
    n = len(seen.y)
    share = f"all {n}" if n == len(seen.data.y_test) else f"the first {n}" if n > 1 else "the first"
    return f"The images: {share} test image{'s' * (n > 1)} of {seen.data.name}."


def cover(seen: Sight) -> str:
    return f"The window covers {size(seen.window)} pixels with zeros, at stride {size(seen.stride)}."


def settings_of(nets: Mapping[str, Found], seen: Sight, seed: int) -> dict[str, Any]:
    """What a reader of the files has to know, as plain JSON data."""
    of_nets = {name: {"trained": {key: net.score.run.history[key] for key in ("preset", "data", "seed", "sizes")},
                      "read_out": net.score.read_out, "accuracy": net.accuracy, "methods": list(net.methods)}
               for name, net in nets.items()}
    return {"data": seen.data.name, "images": len(seen.y), "window": list(seen.window), "stride": list(seen.stride),
            "seed": seed, "nets": of_nets}


def write_arrays(nets: Mapping[str, Found], seen: Sight, settings: dict[str, Any], path: Path) -> None:
    """`saliency.npz`: images, labels, settings (JSON), and of each net NET/METHOD (n, height, width), NET/ig/gap (n,), and
    NET/ads/... the fields of `ADS`."""
    images = seen.x.reshape(-1, *seen.data.shape)
    arrays: dict[str, Any] = {"images": images, "labels": seen.y, "settings": np.array(json.dumps(settings))}
    for name, net in nets.items():
        arrays |= {f"{name}/{method}": maps for method, maps in net.maps.items()}
        if net.gap is not None:
            arrays[f"{name}/ig/gap"] = net.gap
        if net.ads:
            arrays |= {f"{name}/ads/{field}": np.asarray(value) for field, value in net.ads._asdict().items()}
    with replacing(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)
    print(path)


def write_rows(
    kinds: Mapping[str, Sequence[Row]], nets: Mapping[str, Found], seen: Sight, settings: dict[str, Any], out: Path
) -> None:
    """`faithfulness.json`; for each kind of measure a figure, and tables that are printed."""
    rows = [row._asdict() for kind in kinds.values() for row in kind]
    plain = [{key: None if value != value else value for key, value in row.items()} for row in rows]  # no NaN in JSON
    with replacing(out / "faithfulness.json") as part:
        part.write_text(json.dumps({"settings": settings, "rows": plain}, indent=1, allow_nan=False) + "\n")
    print(out / "faithfulness.json")
    for kind, of_kind in kinds.items():
        title = f"Are the maps right? {kind.capitalize()} on {seen.data.name}"
        says = f"{each_made(nets)} {images(seen)} {MEASURES[kind]}"
        save(pictures.rows_figure(of_kind, CONTROLS, title, says), out / f"{kind}.png")
    for kind, of_kind in kinds.items():
        constant = CONTROLS if kind == "randomisation" else ()  # they have 1 everywhere
        print(f"\n{table([r for r in of_kind if r.method not in constant], CONTROLS)}")


def save(figure: Figure, path: Path) -> None:
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=150)
    print(path)
