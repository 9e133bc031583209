"""Makes the two embedded files from the originals; needed only to check or repeat the choice of images.

    python -m ffnp.data.embed digits optdigits.tes            # the test part of the UCI set, as published
    python -m ffnp.data.embed fashion-mini fashion-mnist/     # the folder of the four Fashion-MNIST files
"""
import argparse
from pathlib import Path

import numpy as np

from .catalog import CATALOG
from .fetching import PACKAGE
from .readers import READERS, Arrays


def digits(original: Path) -> Arrays:
    """All 1,797 images in file order; of each class, every fifth is for the test."""
    table = np.loadtxt(original, np.uint8, delimiter=",")  # (1797, 65): the pixels, then the label
    images, labels = table[:, :64].reshape(-1, 8, 8), table[:, 64]
    test = np.zeros(len(labels), bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[4::5]] = True
    return images[~test], labels[~test], images[test], labels[test]


def fashion_mini(original: Path) -> Arrays:
    """The first 500 training and 100 test images of each class, in file order."""
    x_train, y_train, x_test, y_test = READERS["fashion-mnist"](original, CATALOG["fashion-mnist"])
    train, test = _first_of_each_class(y_train, 500), _first_of_each_class(y_test, 100)
    return x_train[train], y_train[train], x_test[test], y_test[test]


def _first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(10)]))


RECIPES = {"digits": digits, "fashion-mini": fashion_mini}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ffnp.data.embed", description="Make an embedded file.")
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("original", type=Path)
    parser.add_argument("--out", type=Path, default=PACKAGE, help="folder to write to; by default the package's own")
    given = parser.parse_args()
    x_train, y_train, x_test, y_test = RECIPES[given.name](given.original)
    path = given.out / f"{given.name}.npz"
    np.savez_compressed(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


if __name__ == "__main__":
    main()
