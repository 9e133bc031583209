"""The command `ffnp bench`: which cases, which contenders, and a table of each race."""

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from ..errors import UserError
from ..rules.rule import at_least, one_of
from .cases import CORES, DEFAULT, SCALES, Case, case_named, data_name
from .contenders import CONTENDERS, contender
from .race import Result, race

LEAST = 5  # runs: the median of fewer is luck


def bench(
    cases: Sequence[str], contenders: Sequence[str], runs: int, threads: int | None, scale: str | None = None
) -> list[Result]:
    """Races the contenders (none named: all that are here) in each case, or in a family of SCALES, and prints a table of each.

    `threads`: None for all cores. Raises UserError for a choice that cannot be, before the first race, and as `race` does.
    """
    at_least(LEAST, runs=runs)
    at_least(1, threads=1 if threads is None else threads)
    chosen = chosen_cases(cases, scale)
    present = present_contenders(contenders)
    fields = {case: fit_for(case, present) for case in chosen}
    results = []
    total = sum((len(names) + 1) * (runs + 1) for names in fields.values())
    with tqdm(total=total, unit="run", leave=False, disable=None) as bar:
        for case, names in fields.items():
            bar.set_description(case.name)
            if bar.disable:
                print(f"{case.name}: {', '.join(names)}", file=sys.stderr)
            results.append(race(case, names, runs, case.threads or threads or CORES, bar.update))
            bar.clear()
            print(table(results[-1]), end="\n\n", flush=True)
    if len(results) > 1 and "ours" in present:
        print(ratios(results), end="\n\n")
    return results


def chosen_cases(names: Sequence[str], scale: str | None) -> list[Case]:
    """The cases of these names, by default DEFAULT, or those of a family. Raises UserError for both, and for unknown names."""
    if scale is None:
        chosen = [case_named(name) for name in dict.fromkeys(names or DEFAULT)]
    elif names:
        raise UserError(f"--scale {scale} brings cases of its own: leave out {', '.join(names)}")
    else:
        one_of("--scale", scale, tuple(SCALES))
        chosen = SCALES[scale]
    for case in chosen:
        data_name(case)
    return chosen


def present_contenders(names: Sequence[str]) -> list[str]:
    """Those that can run here; stderr says who is left out. Raises UserError for an unknown name, or if nobody is left."""
    lacking = {name: contender(name).lacks() for name in names or CONTENDERS}
    for name, missing in lacking.items():
        if missing:
            print(f"{name} is left out: {missing}", file=sys.stderr)
    present = [name for name, missing in lacking.items() if not missing]
    if not present:
        raise UserError(f"none of {', '.join(lacking)} can run here")
    return present


def fit_for(case: Case, names: Sequence[str]) -> list[str]:
    """The contenders that do this kind of case. Raises UserError if none does."""
    fit = [name for name in names if case.kind in CONTENDERS[name].kinds]
    if not fit:
        raise UserError(f"none of {', '.join(names)} does {case.name}, which is {case.kind}")
    return fit


# ----- what is told -----


def table(result: Result) -> str:
    """A race as text: what it was about, then one line for each contender."""
    case, seconds = result.case, result.seconds
    lines = [("contender", "median (s)", "least - most", "GFLOP/s", "/ ours", "")]
    for name, each in seconds.items():
        ratio = f"{result.median(name) / result.median('ours'):.2f}" if "ours" in seconds else ""
        lines.append((name, f"{result.median(name):.4g}", f"{min(each):.4g} - {max(each):.4g}", f"{result.speed(name):.1f}",
                      ratio, CONTENDERS[name].says))
    return "\n".join([
        f"{case.name}: {case.says}",
        f"{case.rows:,} rows of {result.data} a run, {result.threads} thread{'s' * (result.threads > 1)}; "
        f"textbook's work {case.work / 1e9:.1f} GFLOP; sgemm {result.peak:.1f} GFLOP/s, copy {result.bandwidth:.1f} GB/s",
        aligned(lines)])


def ratios(results: Sequence[Result]) -> str:
    """Of all races that we took part in, our median, and how many times as long the others took."""
    ran = [result for result in results if "ours" in result.seconds]
    others = [name for name in CONTENDERS if name != "ours" and any(name in result.seconds for result in ran)]
    lines = [("times as long as ours", "ours (s)", *others)]
    for result in ran:
        times = [f"{result.median(name) / result.median('ours'):.2f}" if name in result.seconds else "" for name in others]
        lines.append((result.case.name, f"{result.median('ours'):.4g}", *times))
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """The lines with each column as wide as its widest word."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def plain(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The results as plain JSON data, a row for each contender in each case; `work` in operations."""
    return [{"case": r.case.name, "contender": name, "median_seconds": r.median(name), "runs": seconds, "work": r.case.work}
            for r in results for name, seconds in r.seconds.items()]
