"""The command `ffnp`. What a user gets wrong ends in one sentence on stderr and exit code 2."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .backend import BACKENDS, load_backend
from .compare import Comparison, compare, table
from .data import CATALOG, NAMES, Dataset, fetch, load, where
from .errors import UserError
from .preset import in_words
from .presets import PRESETS, preset
from .run import replacing
from .training import train
from .version import __version__

OPTIONS = ("epochs", "batch", "layers", "backend", "threads", "dtype")  # of train and compare alike

SMALL = ["bp-small", "ff-small", "pepita-small", "dfa-small"]  # what compare compares


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line (by default the process's own); returns the exit code: 0, 1 `verify` found a
    difference, 2 a user's error, 130 Ctrl-C."""
    if argv is None:
        logging.getLogger("ffnp").addHandler(AboveBar())
        logging.getLogger("ffnp").setLevel(logging.INFO)
    args = argparse.Namespace()
    try:
        try:
            parser().parse_args(argv, args)
            code: int | None = args.command(args)
        finally:
            sys.stdout.flush()
    except (UserError, OSError) as problem:
        if isinstance(problem, BrokenPipeError):  # the reader, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"ffnp: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "; finished epochs are kept, and the same command with --resume goes on" if "resume" in args else ""
        print(f"ffnp: interrupted{kept}", file=sys.stderr)
        return 130
    return code or 0


class AboveBar(logging.Handler):
    """Writes what the project logs to stderr, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(f"ffnp: {record.getMessage()}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="ffnp", description="Learning without back-propagation, from scratch.")
    top.add_argument("--version", action="version", version=f"ffnp {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("train", help="train one preset and keep the run in a folder")
    one.add_argument("preset", metavar="PRESET", help="a name that `ffnp presets` lists")
    one.add_argument("--seed", type=int, default=0, help="seed of all randomness (0)")
    one.add_argument("--out", type=Path, help="folder for the run (ffnp-out/PRESET-DATA-seedS)")
    one.set_defaults(command=train_command)

    many = commands.add_parser("compare", help="train several presets with several seeds and print one table")
    many.add_argument("presets", metavar="PRESET", nargs="*", default=SMALL, help=f"({' '.join(SMALL)})")
    many.add_argument("--seeds", type=int, default=3, help="how many seeds each (3)")
    many.add_argument("--out", type=Path, default=Path("ffnp-out"), help="folder for table, picture and runs (ffnp-out)")
    many.set_defaults(command=compare_command)

    for command in (one, many):
        command.add_argument("--data", default="digits", metavar="NAME", help=f"{', '.join(NAMES)} (digits)")
        command.add_argument("--epochs", type=int, help="passes over the data (the preset's)")
        command.add_argument("--batch", type=int, help="rows per step (the preset's)")
        command.add_argument("--layers", type=sizes, metavar="I,O,...", help="inputs, then hidden widths (the preset's)")
        command.add_argument("--backend", choices=BACKENDS, default="cpu", help="who computes, see `ffnp backends` (cpu)")
        command.add_argument("--threads", type=int, help="threads to compute on (all cores)")
        command.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(float32)")
        command.add_argument("--no-report", dest="report", action="store_false",
                             help="write no report.html, and keep no angles to backprop and the like for it")
        command.add_argument("--resume", action="store_true", help="go on with what --out holds")

    saliency_parser(commands)
    against = commands.add_parser("verify", help="check presets against their torch twins and print one table")
    against.add_argument("presets", metavar="PRESET", nargs="*", default=list(PRESETS), help="(all)")
    against.add_argument("--backend", dest="backends", type=names_of, metavar="NAME,...",
                         help="who computes (all that are here, but the slow one)")
    against.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    against.set_defaults(command=verify_command)
    bench_parser(commands)
    commands.add_parser("backends", help="list who can compute, and what is missing").set_defaults(command=backends_command)
    machine = commands.add_parser("ptx", help="show a CUDA kernel as compiled, beside its Python; without a name list them")
    machine.add_argument("kernel", metavar="KERNEL", nargs="?", help="a name that `ffnp ptx` lists")
    machine.add_argument("--arch", type=int, default=80, help="compute capability times ten, 90 for an H100 (80)")
    machine.set_defaults(command=ptx_command)
    commands.add_parser("presets", help="list the presets with their source and settings").set_defaults(command=presets_command)
    sets = commands.add_parser("data", help="list the data sets; `ffnp data fetch NAME` downloads one")
    sets.add_argument("action", nargs="?", choices=("list", "fetch"), default="list")
    sets.add_argument("name", nargs="?", metavar="NAME", help="the set to fetch")
    sets.set_defaults(command=data_command)
    return top


def saliency_parser(commands: Any) -> None:
    look = commands.add_parser("saliency", help="draw what trained nets look at, and measure whether the maps are right")
    look.add_argument("runs", metavar="RUN", nargs="+", help="a folder of `ffnp train`, or a preset, which is trained first")
    look.add_argument("--method", dest="methods", type=names_of, action="extend", default=[], metavar="NAME,...",
                      help="ads, goodness, grad, times-input, smooth, ig, occlusion, pepita; all that a net can serve (all)")
    look.add_argument("--images", type=int, default=200, help="how many test images (200)")
    look.add_argument("--data", metavar="NAME", help="test images of this set (the one the runs learned from)")
    look.add_argument("--window", type=pixels, metavar="HxW", help="what ads and occlusion cover (a sixth of each side)")
    look.add_argument("--stride", type=pixels, metavar="HxW", help="between windows (half a window)")
    look.add_argument("--backend", choices=BACKENDS, help="who computes (the one that trained, or cpu)")
    look.add_argument("--read-out", default="", metavar="NAME", help="which scores to explain (the main ones)")
    look.add_argument("--per-class", action="store_true", help="draw ads of every class")
    look.add_argument("--metrics", action="store_true", help="measure faithfulness, beside maps that never look at the net")
    look.add_argument("--retrain", action="store_true", help="also measure by training anew, many times")
    look.add_argument("--threads", type=int, help="threads to compute on (all cores)")
    look.add_argument("--seed", type=int, default=0, help="seed of trainings and draws (0)")
    look.add_argument("--out", type=Path, default=Path("ffnp-out/saliency"), help="folder (ffnp-out/saliency)")
    look.set_defaults(command=saliency_command)


def bench_parser(commands: Any) -> None:
    fast = commands.add_parser("bench", help="time ffnp beside NumPy, BLAS, torch and JAX, and print one table a case")
    fast.add_argument("cases", metavar="CASE", nargs="*", help="ff-hinton2022, ff-2000x4, ff-mean-adam, pepita, bp, fa, "
                      "saliency-ads, prediction (these), or ff-hinton2022-epoch")
    fast.add_argument("--contenders", type=names_of, default=[], metavar="NAME,...",
                      help="ours, numpy, blas, torch-autograd, torch-eager, torch-compile, jax (all that can run here)")
    fast.add_argument("--runs", type=int, default=5, help="timed runs of each, at least 5 (5)")
    fast.add_argument("--threads", type=int, help="threads of each (all cores)")
    fast.add_argument("--scale", metavar="WHAT", help="instead of cases a family of them: width, depth, batch or threads")
    fast.add_argument("--json", type=Path, metavar="FILE", help="write the times there too")
    fast.add_argument("--out", type=Path, metavar="DIR", help="write roofline.png there")
    fast.set_defaults(command=bench_command)


def sizes(text: str) -> list[int]:
    """Comma-separated whole numbers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{text!r} is not whole numbers with commas between, such as 64,400,400") from problem


def names_of(text: str) -> list[str]:
    """Names with commas between."""
    return text.split(",")


def pixels(text: str) -> tuple[int, int]:
    """Height and width: 5x3, or 5 for both."""
    try:
        height, width = (int(part) for part in (text if "x" in text else f"{text}x{text}").split("x"))
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{text!r} is not pixels, such as 5, or 5x3 for height and width") from problem
    return height, width


def train_command(args: argparse.Namespace) -> None:
    out = args.out or Path("ffnp-out") / f"{args.preset}-{args.data}-seed{args.seed}"
    data, options = load(args.data), {name: getattr(args, name) for name in OPTIONS}
    run = train(args.preset, data, seed=args.seed, out=out, resume=args.resume, progress=args.preset, diagnose=args.report,
                **options)
    history = run.history
    errors = ", ".join(f"{error:.2%} by {name}" for name, error in history["read_outs"].items())
    seconds = sum(e["seconds"] for e in history["epochs"]) / len(history["epochs"])
    shown = reported(Comparison({args.preset: [history]}, {args.preset: run}), data, out) if args.report else ""
    print(f"{args.preset} on {args.data}, seed {args.seed}: test error {errors} after {len(history['epochs'])} epochs of "
          f"{seconds:.2f} s; kept in {out}{shown and f', shown in {shown}'}")


def compare_command(args: argparse.Namespace) -> None:
    data, options = load(args.data), {name: getattr(args, name) for name in OPTIONS}
    found = compare(args.presets, data, args.seeds, args.out, resume=args.resume, diagnose=args.report, **options)
    print(table(found.rows))
    shown = reported(found, data, args.out) if args.report else ""
    print(f"\nlearning curves: {args.out / 'compare.png'}   all numbers: {args.out / 'compare.json'}"
          f"{shown and f'   report: {shown}'}")


def reported(found: Comparison, data: Dataset, out: Path) -> str:
    """Writes the report into `out`, and says where it is."""
    from .report import report

    path = out / "report.html"
    with replacing(path) as part:
        part.write_text(report(found, data), encoding="utf-8")
    return str(path)


def saliency_command(args: argparse.Namespace) -> None:
    from .saliency.command import Options, saliency

    saliency(Options(**{name: getattr(args, name) for name in Options._fields}))


def verify_command(args: argparse.Namespace) -> int:
    chosen = [preset(name) for name in args.presets]
    backends = args.backends or [name for name, backend in BACKENDS.items() if not (backend.slow or backend.lacks())]
    for name in backends:
        load_backend(name)
    try:
        from .verify import check
    except ModuleNotFoundError as problem:
        if problem.name != "torch":
            raise
        raise UserError("ffnp verify needs torch: pip install torch") from problem
    if args.json:
        room_for(args.json, "--json", "the table")
    rows = check.verify(chosen, backends)
    print(check.table(rows))
    if args.json:
        write_json(args.json, check.plain(rows))
    return int(not all(row.passed for row in rows))


def bench_command(args: argparse.Namespace) -> None:
    from .bench import command

    picture = args.out and args.out / "roofline.png"
    for path, option, what in ((args.json, "--json", "the table"), (picture, "--out", "the picture")):
        if path:
            room_for(path, option, what)
    results = command.bench(args.cases, args.contenders, args.runs, args.threads, args.scale)
    if args.json:
        write_json(args.json, command.plain(results))
    if picture:
        from .bench.roofline import roofline
        with replacing(picture) as part:
            roofline(results).savefig(part, format="png", dpi=150)
        print(f"roofline: {picture}")


def room_for(path: Path, option: str, what: str) -> None:
    """Makes the folder of a file to be written. Raises UserError where the file is a folder, or its folder cannot be one."""
    if path.is_dir():
        raise UserError(f"{option} needs the name of a file, and {path} is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"{path.parent} cannot be a folder for {what} ({problem.strerror})") from problem


def write_json(path: Path, data: Any) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")


def backends_command(args: argparse.Namespace) -> None:
    for name, backend in BACKENDS.items():
        missing = backend.lacks()
        print(f"{name:<6} {'not here' if missing else 'here':<9} {' '.join(backend.dtypes):<16} {backend.says}")
        if missing:
            print(f"{'':<33} {missing}")


def ptx_command(args: argparse.Namespace) -> None:
    from .listing import kernels, listing

    print(listing(args.kernel, args.arch) if args.kernel else kernels())


def presets_command(args: argparse.Namespace) -> None:
    for recipe in PRESETS.values():
        print(f"{recipe.name}: {recipe.source}")
        for what, words in in_words(recipe.settings()).items():
            print(f"    {what:<14} {words}")


def data_command(args: argparse.Namespace) -> None:
    if args.action == "fetch":
        if args.name is None:
            raise UserError(f"say which data set to fetch: {', '.join(NAMES)}")
        print(f"{args.name} is in {fetch(args.name)}")
        return
    if args.name is not None:
        raise UserError(f"`ffnp data list` lists all sets and takes no name, not {args.name!r}")
    for info in CATALOG.values():
        size = "x".join(map(str, info.shape))
        print(f"{info.name:<14} {info.n_train:>6,} + {info.n_test:<6,} images of {size:<8} "
              f"{len(info.classes):>3} classes   {where(info.name) or 'not fetched'}")
