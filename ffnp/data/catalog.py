"""The six data sets by name: what is known of each before a file is opened."""
from typing import NamedTuple

from ..errors import DataError


class Info(NamedTuple):
    """Name, image shape, class names and counts of images of a data set, and how its files hold it.

    `pixel_max`: the stored value that becomes 1.0. `stand_in`: the embedded set that can be used instead; None: it is embedded.
    """

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    n_train: int
    n_test: int
    pixel_max: int = 255
    stand_in: str | None = None


DIGITS = tuple("0123456789")

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man
    maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail
    snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout
    tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CATALOG = {
    info.name: info
    for info in (
        Info("digits", (8, 8), DIGITS, 1442, 355, pixel_max=16),
        Info("fashion-mini", (28, 28), FASHION, 5000, 1000),
        Info("mnist", (28, 28), DIGITS, 60000, 10000, stand_in="digits"),
        Info("fashion-mnist", (28, 28), FASHION, 60000, 10000, stand_in="fashion-mini"),
        Info("cifar10", (32, 32, 3), CIFAR10, 50000, 10000, stand_in="fashion-mini"),
        Info("cifar100", (32, 32, 3), tuple(_CIFAR100.split()), 50000, 10000, stand_in="fashion-mini"),
    )
}

NAMES = tuple(CATALOG)


def lookup(name: str) -> Info:
    """What is known of the data set `name`; DataError for any other name."""
    if name not in CATALOG:
        raise DataError(f"unknown data set {name!r}; the data sets are {', '.join(NAMES)}")
    return CATALOG[name]
