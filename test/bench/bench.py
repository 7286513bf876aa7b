#!/usr/bin/env python3
"""qspool beside the limits of the machine and beside its peers.

usage: bench.py [--quick] [--rounds N] [ROW...]

Each row is measured in rounds: in a round qspool, the limit and each peer have their turn, another of them first each time.
What is printed, as Markdown, are medians; a ratio is the median of those of the rounds. A rate's ratio is qspool's
divided by the other's, a time's the other's divided by qspool's, so that more is better for both.

All data is on a journalled ext4: below $BENCH_DIR (/var/tmp) if that is one, else, for root, on an image of our own.
build/bench/ gets the table (bench.md), the raw figures (bench.json) and the plot of rate against backlog.

Exit status: 0 all goals are met (with --quick: all could be measured), 1 not, 2 something could not be measured.
"""

import argparse
import collections
import datetime
import json
import os
import signal
import statistics
import subprocess
import sys

import peers as peer_programs
import place as places
import rows

Shown = collections.namedtuple("Shown", "work qspool limit goal met peers")
FULL = {"size": 10 << 30, "files": 8_000_000}
QUICK = {"size": 2 << 30, "files": 600_000}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and jobs, and only the cheap peers"
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=" ".join(rows.GROUPS))
    args = parser.parse_args()
    unknown = set(args.rows) - set(rows.GROUPS)
    if unknown:
        parser.error(f"there are no rows {' '.join(unknown)}; there are: {' '.join(rows.GROUPS)}")
    args.rounds = args.rounds or (2 if args.quick else 5)
    return args


def tell(text):
    """Progress, for who watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def measure(row, rounds):
    """Fills row.figures: label to a list of one figure a round, or to what went wrong."""
    row.figures = {label: [] for label in row.contestants}
    labels = list(row.contestants)
    for i in range(rounds):
        for label in labels[i % len(labels) :] + labels[: i % len(labels)]:
            if isinstance(row.figures[label], str):
                continue
            tell(f"{row.work}: round {i + 1} of {rounds}: {label}")
            try:
                row.figures[label].append(row.contestants[label]())
            except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
                row.figures[label] = str(error)
    tell("")


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def figure(row, label):
    found = row.figures.get(label)
    if not found or isinstance(found, str):
        return "failed" if found else "-"
    return f"{number(statistics.median(found))} {row.unit}"


def versus(row, label):
    """A figure and qspool's ratio to it."""
    ratio = row.ratio(label)
    return figure(row, label) + (f" ({number(ratio)})" if ratio is not None else "")


def show(row):
    others = [label for label in row.figures if label not in (rows.OURS, rows.LIMIT)]
    return Shown(
        row.work,
        figure(row, rows.OURS),
        versus(row, rows.LIMIT) if rows.LIMIT in row.figures else "-",
        "; ".join(goal.text for goal in row.goals) or "-",
        "; ".join("yes" if holds else "**no**" for _, holds in row.judged()) or "-",
        "; ".join(f"{label} {versus(row, label)}" for label in others) or "-",
    )


def table(header, lines):
    yield "| " + " | ".join(header) + " |"
    yield "|" + " --- |" * len(header)
    for line in lines:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |"


def promises(done):
    measured = {label for row in done for label in row.figures}
    return {
        label: promise for label, promise in peer_programs.DURABILITY.items() if label in measured
    }


def report(facts, done):
    """The whole of it, as lines of Markdown."""
    yield from (f"- {name}: {value}" for name, value in facts.items())
    yield ""
    yield from table(
        ("work", "qspool", "limit (ratio)", "goal", "met", "others (ratio)"), map(show, done)
    )
    for row in done:
        for note in row.notes:
            yield from ("", note)
    yield ""
    yield from table(("of a job it has accepted", "promises"), promises(done).items())
    failures = [
        (row.work, label, text)
        for row in done
        for label, text in row.figures.items()
        if isinstance(text, str)
    ]
    for work, label, text in failures:
        yield from ("", f"Could not be measured: {work}, {label}: {text}")


def facts_of(args, place, missing):
    versions = {
        name: peer_programs.version(name) for name in peer_programs.PROGRAMS if name not in missing
    }
    qspool = subprocess.run(
        [f"{places.BIN}/qsend", "--version"], capture_output=True, text=True, check=True
    ).stdout.split("\n")[0]
    return {
        "command": "make "
        + ("bench-quick" if args.quick else "bench")
        + (f" BENCH='{' '.join(args.rows)}'" if args.rows else ""),
        "date": datetime.date.today().isoformat(),
        **places.machine(place.root),
        "qspool": f"{qspool}; bin/qsend is {place.linkage('qsend')}",
        "rounds": args.rounds,
        "peers": ", ".join(f"{name} {version}" for name, version in versions.items()),
        **(
            {"missing": ", ".join(missing) + " (./bootstrap bench installs them)"}
            if missing
            else {}
        ),
    }


def raw_figures(row):
    ratios = {label: row.ratio(label) for label in row.figures if label != rows.OURS}
    kept = {
        "group": row.group,
        "work": row.work,
        "unit": row.unit,
        "goals": row.judged(),
        "notes": row.notes,
    }
    return {**kept, "figures": row.figures, "ratios": ratios}


def write(args, facts, done, lines):
    directory = os.environ.get("BENCH_OUTPUT", "build/bench")
    os.makedirs(directory, exist_ok=True)
    name = os.path.join(directory, "quick" if args.quick else "bench")
    with open(f"{name}.md", "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
    raw = {"facts": facts, "rows": [raw_figures(row) for row in done], "promises": promises(done)}
    with open(f"{name}.json", "w", encoding="utf-8") as file:
        json.dump(raw, file, indent=1)
    rows.plot(done, directory)


def run(args, root):
    place = rows.Spools(root)
    missing = [name for name in peer_programs.PROGRAMS if not peer_programs.is_there(name)]
    done = []
    for row in rows.make(place, args.quick, args.rows):
        measure(row, row.rounds or args.rounds)
        done.append(row)
    facts = facts_of(args, place, missing)
    lines = list(report(facts, done))
    print("\n".join(lines))
    write(args, facts, done, lines)
    if any(isinstance(found, str) for row in done for found in row.figures.values()):
        return 2
    return 0 if args.quick or all(row.met() for row in done) else 1


def main():
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    mounted = os.environ.get("BENCH_MOUNTED")
    if mounted:
        return run(args, mounted)
    size = QUICK if args.quick else FULL
    with places.on_journalled_ext4([sys.executable, "-B", *sys.argv], **size) as root:
        return run(args, root)


if __name__ == "__main__":
    sys.exit(main())
