#!/usr/bin/env python3
"""Writes qspool-performance(7) from the raw figures of a run of `make bench`.

usage: page.py build/bench/bench.json [LATER.json...] >man/qspool-performance.7

What later runs have, of some rows only, takes the place of that of the first one.
What is known of where the time goes stands in profile.mdoc beside this file, and goes into the page as it is.
"""

import datetime
import json
import os
import statistics
import sys

HEAD = """.Dd {date}
.Dt QSPOOL-PERFORMANCE 7
.Os
.Sh NAME
.Nm qspool-performance
.Nd how fast qspool is, beside the limits of the machine and beside its peers
.Sh DESCRIPTION
This page was written by
.Pa test/bench/page.py
from the figures of
{commands}
What a later one has takes the place of what the first has; machine and versions are those of the first.
Each figure is the median of {rounds} rounds, if nothing else is said; in each round qspool, the limit and each
peer had their turn.
A ratio says how many times better qspool is: of rates qspool's divided by the
other's, of times and sizes the other's divided by qspool's.
It is the median of the ratios of the rounds, which is not that of the medians.
Figures of another machine differ; ratios differ less.
.Pp
The
.Em limit
is a program of
.Pa test/bench
that makes only the system calls that cannot be left out, in a loop: starting a program by
.Xr vfork 2
and
.Xr execve 2 ;
a durable send; the sends of a batch; or a claim and the removal of a job.
That of
.Xr qrelay 1
publishes payloads by libnats, and nothing else.
The peers are served by clients and workers in C where they are servers, over sockets of the Unix domain.
.Xr nq 1
and
.Xr tsp 1
are queues without a server, of a file and of a process a job.
.Dq redis, synced
is one whose file is synced before each answer.
Words in capitals and steps such as T3 are those of
.Pa spool-layout.md .
"""
TAIL = """.Sh SEE ALSO
.Xr qsend 1 ,
.Xr qstat 1 ,
.Xr qwork 1 ,
.Xr qspool 5 ,
.Xr qspool 7
"""


def text(words):
    """As roff takes it."""
    words = words.replace("\\", "\\e").replace("-", "\\-").replace("**", "")
    return "\\&" + words if words.startswith((".", "'")) else words


def cell(words):
    return '"' + text(words).replace('"', "\\(dq") + '"'


def columns(widths, lines):
    yield ".Bl -column " + " ".join(cell("x" * width) for width in widths)
    yield from (".It " + " Ta ".join(map(cell, line)) for line in lines)
    yield ".El"


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def contestants(row):
    """The lines of one row of `make bench`: who, figure, ratio."""
    for label, figures in row["figures"].items():
        if isinstance(figures, str):
            yield label, "failed", ""
        elif figures:
            ratio = row["ratios"].get(label)
            yield label, f"{number(statistics.median(figures))} {row['unit']}", f"{ratio:.2f}" if ratio else ""


def rounds_of(row):
    return max((len(found) for found in row["figures"].values() if not isinstance(found, str)), default=0)


def judged(goal):
    return f"{goal[0]} ({'met' if goal[1] else 'not met'})"


def section(row):
    yield f".Ss {text(row['work'])}"
    yield from columns((24, 18, 6), contestants(row))
    if rounds_of(row) == 1:
        yield "One round."
    if row["goals"]:
        yield "Goal: " + text("; ".join(map(judged, row["goals"]))) + "."
    for note in row["notes"]:
        title, *items = (line for line in note.split("\n") if line)
        yield ".Pp"
        yield text(title)
        yield ".Bl -bullet -compact"
        for item in items:
            yield ".It"
            yield text(item[2:])
        yield ".El"


def merge(runs):
    """The first one, with the groups of rows that later ones have in the places of its own."""
    groups = {}
    for run in runs:
        later = {}
        for row in run["rows"]:
            later.setdefault(row["group"], []).append(row)
        groups.update(later)
    rows = [row for group in groups.values() for row in group]
    return {**runs[0], "rows": rows, "commands": [run["facts"]["command"] for run in runs]}


def quoted(commands):
    *others, last = (f".Ql {text(command)}" for command in commands)
    return "\n".join([other + " ," for other in others] + [last + " ."])


def page(run):
    facts = run["facts"]
    date = datetime.date.fromisoformat(facts["date"])
    yield HEAD.format(
        date=f"{date:%B} {date.day}, {date.year}", commands=quoted(run["commands"]), rounds=facts["rounds"]
    ).rstrip("\n")
    yield ".Sh MACHINE AND VERSIONS"
    yield ".Bl -tag -width processor"
    for name, value in facts.items():
        if name not in ("command", "rounds", "date"):
            yield f".It {text(name)}"
            yield text(str(value))
    yield ".El"
    yield ".Sh FIGURES"
    for row in run["rows"]:
        yield from section(row)
    yield ".Sh WHAT EACH PROMISES"
    yield "Of a job that it has accepted:"
    yield ".Bl -tag -width qspool"
    for name, promise in run["promises"].items():
        yield f".It {text(name)}"
        yield text(promise)
    yield ".El"
    with open(os.path.join(os.path.dirname(__file__), "profile.mdoc"), encoding="utf-8") as profile:
        yield profile.read().rstrip("\n")
    yield TAIL.rstrip("\n")


def main():
    runs = []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            runs.append(json.load(file))
    print("\n".join(page(merge(runs))))


if __name__ == "__main__":
    main()
