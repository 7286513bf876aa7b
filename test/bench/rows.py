"""What is measured: the rows of the table, each with its contestants and its goals."""

import collections
import contextlib
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import calls
from peers import Peers, beanstalkd, is_there, nats, wait_until
from place import BIN, Place, ended

OURS, LIMIT = "qspool", "limit"
SIZES = {
    False: {
        "run": 3000,
        "slow": 300,
        "send": 300,
        "crowd": 1000,
        "bulk": 100_000,
        "synced": 20_000,
        "stay": 20_000,
        "latency": 300,
        "backlogs": (10_000, 100_000),
        "great": 1_000_000,
        "greatest": 4_000_000,
        "claims": 20_000,
        "idle": 10,
        "rest": 70,
        "relayed": 100_000,
    },
    True: {
        "run": 500,
        "slow": 100,
        "send": 100,
        "crowd": 300,
        "bulk": 10_000,
        "synced": 3000,
        "stay": 5000,
        "latency": 50,
        "backlogs": (),
        "great": 100_000,
        "greatest": 0,
        "claims": 5000,
        "idle": 3,
        "rest": 5,
        "relayed": 10_000,
    },
}
SETTLED = 3  # seconds after which what is known of a directory is trusted
BETWEEN_LOOKS = 50  # seconds in which qwork does not look by itself
WARM = 10  # jobs before those whose times count
TRUE = next(filter(os.path.exists, ("/bin/true", "/usr/bin/true")))
FINISHED = 16 + 8 + 8 + 13 * 8 + 4 * 8  # where the statistics of a queue count finished jobs

Goal = collections.namedtuple("Goal", "text holds")  # holds(row)


def at_least(factor, label=LIMIT):
    return Goal(
        f"at least {factor} of {label}" if factor < 1 else f"at least {factor} times {label}",
        lambda row: compare(row, label, factor),
    )


def ahead_of(*labels):
    return Goal(
        f"ahead of {', '.join(labels)}", lambda row: all(compare(row, label, 1) for label in labels)
    )


def ahead_of_all():
    return Goal(
        "ahead of all others",
        lambda row: all(
            compare(row, label, 1) for label in row.figures if label not in (OURS, LIMIT)
        ),
    )


def at_most(bound, unit=""):
    return Goal(
        f"at most {bound:g} {unit}".strip(),
        lambda row: row.median(OURS) is not None and row.median(OURS) <= bound,
    )


def enough(rate, factor):
    """Where the limit is high, so many will do."""
    part = at_least(factor)
    return Goal(
        f"{part.text}, or {rate:,}, whichever is less",
        lambda row: (row.median(OURS) or 0) >= rate or part.holds(row),
    )


def compare(row, label, factor):
    """What is missing was named, and is no reason to fail."""
    if label not in row.figures:
        return label != LIMIT
    ratio = row.ratio(label)
    return ratio is not None and ratio >= factor


class Row:
    def __init__(self, work, unit, contestants, goals=(), rounds=None, less=False):
        self.work, self.unit, self.goals, self.rounds, self.less = (
            work,
            unit,
            list(goals),
            rounds,
            less,
        )
        self.contestants = {label: function for label, function in contestants.items() if function}
        self.figures, self.notes, self.point, self.group = {}, [], None, None

    def at(self, series, backlog):
        """Makes it a point of the plot."""
        self.point = (series, backlog)
        return self

    def median(self, label):
        found = self.figures.get(label)
        return statistics.median(found) if found and not isinstance(found, str) else None

    def ratio(self, label):
        """How many times better qspool is: the median of the rounds."""
        ours, others = self.figures.get(OURS), self.figures.get(label)
        if not ours or not others or isinstance(ours, str) or isinstance(others, str):
            return None
        pairs = zip(others, ours) if self.less else zip(ours, others)
        return statistics.median(a / b for a, b in pairs if b)

    def judged(self):
        """[(goal, whether it is met)]"""
        failed = isinstance(self.figures.get(OURS), str)
        return [(goal.text, not failed and goal.holds(self)) for goal in self.goals]

    def met(self):
        return not isinstance(self.figures.get(OURS), str) and all(
            holds for _, holds in self.judged()
        )


class Spools(Place):
    """Places with spools of qspool in them."""

    def tool(self, name, spool, *args):
        return [f"{BIN}/{name}", "-s", spool, *map(str, args)]

    def qwork(self, spool, *args):
        return self.tool("qwork", spool, *args)

    def spool(self, jobs=0, name="spool"):
        """A new spool with so many jobs of 200 bytes."""
        path = self.fresh(name)
        argv = self.tool("qsend", path, "--lines")
        self.call(argv, stdin=self.lines(jobs) if jobs else "/dev/null")
        return path

    def bare(self, name="bare"):
        """A directory as the programs of the limits want it."""
        path = self.fresh(name)
        for part in ("tmp", "new", "cur", "delay"):
            os.mkdir(f"{path}/{part}")
        return path

    def linkage(self, tool):
        """How a tool is linked: dynamic, glibc or musl."""
        with open(f"{BIN}/{tool}", "rb") as file:
            text = file.read()
        if b"/lib64/ld-linux" in text or b"/lib/ld-" in text:
            return "dynamic"
        return "glibc, static" if b"GLIBC_TUNABLES" in text else "musl, static"

    def syncs(self):
        """What the limit of a send needs to know: how many directories qsend syncs after the rename."""
        trace = self.path("trace")
        self.call(["strace", "-o", trace, *self.tool("qsend", self.spool())], stdin=self.lines(1))
        with open(trace, encoding="utf-8") as file:
            after = file.read().split("RENAME_NOREPLACE")[-1]
        return ["-t"] if len(re.findall(r"^fsync\(", after, re.MULTILINE)) < 2 else []

    def publish(self):
        """The limit of a send, linked as qsend is."""
        how = {
            "dynamic": ["cc"],
            "glibc, static": ["cc", "-static"],
            "musl, static": ["musl-gcc", "-static"],
        }[self.linkage("qsend")]
        program = self.path("publish")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "publish.c")
        subprocess.run([*how, "-O2", "-D_GNU_SOURCE", "-o", program, source], check=True)
        return program


@contextlib.contextmanager
def fifo(place):
    path = place.path("stamps")
    if os.path.exists(path):
        os.unlink(path)
    os.mkfifo(path)
    with open(os.open(path, os.O_RDWR), "r", encoding="ascii") as pipe:
        yield path, pipe


def stamp(pipe):
    """When a handler started: by the clock that nobody sets, and by that of the day."""
    return tuple(map(float, pipe.readline().split()))


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1]) / 1024


def only(label, function):
    """FUNCTION, if that peer is here."""
    return function if is_there(label) else None


# --- the rows ---------------------------------------------------------------


def spawn_rows(place, n, peers, quick):
    def qspool(jobs):
        spool = place.spool(n["run"])
        return n["run"] / place.timed(place.qwork(spool, "-j", jobs, "--drain", "--", TRUE))

    def row(jobs):
        servers = {
            "beanstalkd -f50": n["run"],
            "beanstalkd -f0": n["run"] // 3,
            "redis, synced": n["run"] // 3,
        }
        contestants = {
            OURS: lambda: qspool(jobs),
            LIMIT: lambda: float(
                place.call([place.program("spawn"), str(jobs), str(n["run"]), TRUE])
            ),
            **{
                s: only(s, lambda s=s, count=count: peers.servers[s].run(jobs, count, TRUE))
                for s, count in servers.items()
            },
            "xargs": lambda: peers.xargs(jobs, n["run"], TRUE),
        }
        if not quick:
            contestants["gearman"] = only(
                "gearman", lambda: peers.gearman_run(jobs, n["run"], TRUE)
            )
            contestants["tsp"] = only("tsp", lambda: peers.tsp(jobs, n["slow"], TRUE))
            contestants["nq"] = only(
                "nq", (lambda: peers.nq(n["slow"], TRUE)) if jobs == 1 else None
            )
            contestants["GNU parallel"] = only(
                "GNU parallel", lambda: peers.parallel(jobs, n["slow"], TRUE)
            )
        return Row(
            f"run {TRUE}, {jobs} in flight", "jobs/s", contestants, [at_least(0.95), ahead_of_all()]
        )

    yield from map(row, (1, 2) if quick else (1, 2, 4))


def calls_rows(place, _n, _peers, _quick):
    for jobs, bound in ((1, 20), (4, 14)):
        row = Row(
            f"system calls of qwork for one job, {jobs} in flight",
            "calls",
            {},
            [at_most(bound)],
            rounds=1,
        )

        def measured(row=row, jobs=jobs):
            found = calls.count(place, jobs)
            row.notes.append(f"System calls of one job, {jobs} in flight:\n")
            row.notes[-1] += "".join(
                f"\n- {number:.2f} {call}: {reason or '**no reason is known**'}"
                for number, call, reason in found
            )
            if not all(reason for _, _, reason in found):
                row.goals.append(Goal("a reason for each", lambda row: False))
            return sum(number for number, _, _ in found)

        row.contestants[OURS] = measured
        yield row


def send_rows(place, n, peers, quick):
    how, program, count = place.syncs(), place.publish(), n["send"]

    def qsend(jobs, count):
        return place.spawn(jobs, count, place.tool("qsend", place.spool()))

    def bare(jobs, count):
        return place.spawn(jobs, count, [program, *how, place.bare()])

    contestants = {
        OURS: lambda: qsend(1, count),
        LIMIT: lambda: bare(1, count),
        "beanstalkd -f0": only(
            "beanstalkd", lambda: peers.servers["beanstalkd -f0"].send(1, count)
        ),
        "redis-cli": only("redis-cli", lambda: peers.redis_cli(count // 3)),
        "nq": only("nq", lambda: peers.nq(count // 3, TRUE, sending=True)),
        "tsp": only("tsp", lambda: peers.tsp(1, count // 3, TRUE, sending=True)),
        "gearman": only("gearman", lambda: peers.gearman_send(count // 3)),
    }
    goals = [at_least(0.9), ahead_of("beanstalkd -f0"), at_least(6, "redis-cli")]
    yield Row("one durable qsend of 200 bytes after another", "jobs/s", contestants, goals)
    crowd = n["crowd"]
    contestants = {
        OURS: lambda: qsend(8, crowd),
        LIMIT: lambda: bare(8, crowd),
        "one qsend": lambda: qsend(1, count),
        "beanstalkd -f0": only(
            "beanstalkd", lambda: peers.servers["beanstalkd -f0"].send(8, crowd)
        ),
    }
    yield Row("the same, 8 at once", "jobs/s", contestants, [at_least(4, "one qsend")])


def bulk_rows(place, n, peers, quick):
    how, count = place.syncs(), n["bulk"]

    def qsend(*options):
        argv = place.tool("qsend", place.spool(), "--lines", *options)
        return count / place.timed(argv, stdin=place.lines(count))

    def batch(*options):
        return float(place.call([place.program("batch"), *options, place.bare(), str(count)]))

    def server(name, count):
        return only(name, lambda: peers.servers[name].fill(count))

    contestants = {
        OURS: qsend,
        LIMIT: lambda: batch(*how),
        "beanstalkd -f0": server("beanstalkd -f0", n["synced"]),
        "beanstalkd -f50": server("beanstalkd -f50", count),
        "redis, synced": server("redis, synced", count),
    }
    yield Row(
        f"qsend --lines, {count:,} jobs of 200 bytes",
        "jobs/s",
        contestants,
        [at_least(0.85), at_least(2.5, "beanstalkd -f0")],
    )
    contestants = {
        OURS: lambda: qsend("--no-sync"),
        LIMIT: lambda: batch("-n", "-b", "1"),
        "redis, in memory": server("redis, in memory", count),
    }
    yield Row("the same with --no-sync", "jobs/s", contestants, [at_least(0.9)])


def persist_rows(place, n, peers, quick):
    count = n["stay"]
    python = os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "../../share/examples/persist/python"
    )

    def qspool(jobs, *handler):
        spool = place.spool(count)
        return count / place.timed(
            place.qwork(spool, "-j", jobs, "--persist", "--drain", "--", *handler)
        )

    handler = place.program("handler")
    sidekiq = {
        "Sidekiq": only("Sidekiq", lambda: peers.sidekiq(count, 1)),
        "Sidekiq, logging errors": only("Sidekiq", lambda: peers.sidekiq(count, 3)),
    }
    if quick:
        sidekiq = {}
    contestants = {
        OURS: lambda: qspool(4, handler),
        LIMIT: lambda: float(place.call([place.program("claim"), place.bare(), str(count)])),
        "qspool, 1 handler": lambda: qspool(1, handler),
        "qspool, 2 handlers": lambda: qspool(2, handler),
        **sidekiq,
    }
    yield Row(
        "--persist, 4 trivial C handlers",
        "jobs/s",
        contestants,
        [at_least(0.7), at_least(3, "Sidekiq")],
    )
    contestants = {OURS: lambda: qspool(2, sys.executable, python), **sidekiq}
    yield Row(
        "--persist, 2 Python handlers that read the payload",
        "jobs/s",
        contestants,
        [ahead_of("Sidekiq")],
    )


def latency_rows(place, n, peers, quick):
    count = n["latency"]
    samples = collections.defaultdict(list)

    def times(pipe, argv):
        out = place.call([place.program("latency"), pipe, str(count + WARM), place.lines(1), *argv])
        return sorted(1e3 * float(line) for line in out.split()[WARM:])

    def qspool():
        spool = place.spool()
        with fifo(place) as (path, _), ended(
            place.start(place.qwork(spool, "--", place.program("stamp"), path))
        ) as qwork:
            wait_until("qwork", lambda: is_idle(qwork.pid))
            return times(path, place.tool("qsend", spool))

    def other():
        with beanstalkd(place, 0) as socket, fifo(place) as (path, _):
            client = [place.program("client"), "beanstalkd", socket]
            worker = place.start(
                [*client, "work", "1", str(count + WARM), place.program("stamp"), path]
            )
            with ended(worker):
                wait_until("the worker", lambda: is_idle(worker.pid))
                return times(path, [*client, "put"])

    def contestant(label, function, part):
        """Measured once a round, for the two rows."""

        def measured():
            if part == 0.5:
                samples[label].append(function())
            times = samples[label][-1] if part == 0.5 else samples[label].pop(0)
            return times[min(len(times) - 1, int(len(times) * part))]

        return measured

    for part, name in ((0.5, "median"), (0.99, "99th percentile")):
        contestants = {OURS: contestant(OURS, qspool, part)}
        if is_there("beanstalkd"):
            contestants["beanstalkd -f0"] = contestant("beanstalkd -f0", other, part)
        yield Row(
            f"from qsend's start to the handler's, idle: {name}",
            "ms",
            contestants,
            [ahead_of("beanstalkd -f0")],
            less=True,
        )


def is_idle(pid):
    """Whether it has not been run for a while."""
    before = runs(pid)
    time.sleep(0.2)
    return before == runs(pid)


def runs(pid):
    """How often and how long it was run: who reads a long directory is not switched from for seconds."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        switches = re.findall(r"ctxt_switches:\s+(\d+)", status.read())
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return switches + stat.read().rsplit(")", 1)[1].split()[11:13]


STAY = "--persist, a C handler"
RUN = f"{TRUE}, 2 in flight"


class Backlog:
    """A spool with many jobs, of no content, so that all that is measured is their number."""

    def __init__(self, place, count, claims):
        self.place, self.count, self.claims = place, count, claims
        self.spool = place.spool(name=f"backlog{count}")
        self.there = 0
        self.peak = 0.0

    def fill(self):
        missing = self.count - self.there
        if missing > 0:
            self.place.call([self.place.program("fill"), f"{self.spool}/default", str(missing)])
            self.there = self.count
            self.place.settle()

    def claim(self):
        """Jobs a second from the 101st that a handler gets on."""
        self.fill()
        report = self.place.path("rate")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(report)
        count = min(self.claims, self.count - 200)
        argv = self.place.qwork(
            self.spool, "--persist", "--", self.place.program("handler"), report, 100, count
        )
        with ended(self.place.start(argv)) as qwork:
            wait_until("the handler", lambda: os.path.exists(report), 120)
            self.peak = max(self.peak, resident(qwork.pid))
        self.there = self.left()
        with open(report, encoding="ascii") as file:
            return float(file.read())

    def left(self):
        out = self.place.call(self.place.tool("qstat", self.spool, "--json"))
        return int(re.search(r'"ready": *(\d+)', out)[1])

    def first(self):
        """Seconds from qwork's start to the first handler's."""
        self.fill()
        with fifo(self.place) as (path, pipe):
            begin = time.monotonic()
            with ended(
                self.place.start(
                    self.place.qwork(self.spool, "--", self.place.program("stamp"), path)
                )
            ):
                took = stamp(pipe)[0] - begin
        self.there = self.left()
        return took

    def run(self):
        """TRUE, 2 in flight: jobs a second by qwork's own statistics, from the 101st on."""
        self.fill()
        before = self.finished()
        with ended(self.place.start(self.place.qwork(self.spool, "-j", 2, "--", TRUE))):
            begin = self.when_finished(before + 100)
            end = self.when_finished(before + min(3000, self.count - 100))
        self.there = self.left()
        return (end[1] - begin[1]) / (end[0] - begin[0])

    def finished(self):
        """Jobs, as the queue's statistics say: spool-layout.md."""
        with contextlib.suppress(FileNotFoundError), open(
            f"{self.spool}/default/stats", "rb"
        ) as file:
            return struct.unpack_from("=Q", file.read(), FINISHED)[0]
        return 0

    def when_finished(self, count):
        wait_until("qwork", lambda: self.finished() >= count, 120)
        return time.monotonic(), self.finished()

    def qstat(self):
        self.fill()
        return self.place.timed(self.place.tool("qstat", self.spool))


def claim_rows(some, small, goals=()):
    """What a job costs beside so many others: at most 1.3 times what it costs beside 1,000."""
    beside = {} if some is small else {"1,000 waiting": small.claim}
    name = f"{some.count:,} jobs waiting: "
    yield Row(name + STAY, "jobs/s", {OURS: some.claim, **beside}, goals).at(STAY, some.count)
    beside = {} if some is small else {"1,000 waiting": small.run}
    yield Row(name + RUN, "jobs/s", {OURS: some.run, **beside}, goals).at(RUN, some.count)


def million_rows(place, n, peers, quick):
    small = Backlog(place, 1000, n["claims"])
    yield from claim_rows(small, small)
    for count in n["backlogs"]:
        yield from claim_rows(Backlog(place, count, n["claims"]), small)
    for count in filter(None, (n["great"], n["greatest"])):
        big = Backlog(place, count, n["claims"])
        name = f"{count:,} jobs waiting: "
        if count == n["great"]:
            yield Row(
                name + "qwork's start to the first handler's",
                "s",
                {OURS: big.first},
                [at_most(1, "s")],
            )
            yield Row(name + "qstat", "s", {OURS: big.qstat}, [at_most(0.6, "s")])
        yield from claim_rows(big, small, [at_least(round(1 / 1.3, 2), "1,000 waiting")])
        bound = 32 if count == n["great"] else 64
        yield Row(
            name + "peak memory of qwork",
            "MB",
            {OURS: lambda big=big: big.peak},
            [at_most(bound, "MB")],
            rounds=1,
        )


def delay_rows(place, n, peers, quick):
    """A great many that are due in an hour and later, and 20 that are due soon, 100 ms apart."""
    found = {}

    def fill(spool, due, count):
        options = ["-d", str(int(due * 1000)), "-s", "100", f"{spool}/default", str(count)]
        place.call([place.program("fill"), *options])

    def measured():
        spool = place.spool()
        fill(spool, time.time() + 3600, n["great"])
        place.settle()
        due = time.time() + SETTLED + n["rest"] + 5
        fill(spool, due, 20)
        time.sleep(SETTLED)
        with fifo(place) as (path, pipe), ended(
            place.start(place.qwork(spool, "--", place.program("stamp"), path))
        ) as qwork:
            wait_until("qwork", lambda: is_idle(qwork.pid))
            found["calls"] = calls.made_by(place, qwork.pid, due - time.time() - 2)
            found["late"] = [1000 * (stamp(pipe)[1] - (due + i / 10)) for i in range(20)]
            found["peak"] = resident(qwork.pid)
        return found["peak"]

    name = f"{n['great']:,} jobs in delay/: "
    yield Row(name + "peak memory of qwork", "MB", {OURS: measured}, [at_most(32)], rounds=1)
    at_rest = min(n["rest"], BETWEEN_LOOKS)
    yield Row(
        name + f"calls before the first is due, in {at_rest} s",
        "calls",
        {OURS: lambda: sum(at < at_rest for at, _ in found["calls"])},
        [at_most(0)],
        rounds=1,
    )
    if n["rest"] > BETWEEN_LOOKS:
        yield Row(
            name + f"the same in {n['rest']} s, with the look that qwork takes each minute",
            "calls",
            {OURS: lambda: len(found["calls"])},
            rounds=1,
        )
    yield Row(
        name + "the latest start of 20, after its time",
        "ms",
        {OURS: lambda: max(found["late"])},
        [at_most(50, "ms")],
        rounds=1,
    )


def idle_rows(place, n, peers, quick):
    def measured():
        with ended(place.start(place.qwork(place.spool(), "--", TRUE))) as qwork:
            wait_until("qwork", lambda: is_idle(qwork.pid))
            return len(calls.made_by(place, qwork.pid, n["idle"]))

    yield Row(f"idle, {n['idle']} s", "calls", {OURS: measured}, [at_most(0)], rounds=1)


def relay_rows(place, n, peers, quick):
    """Into one server on the loopback; the spool is in memory, and so is what the server keeps."""
    count = n["relayed"]
    if not (is_there("nats-server") and os.path.exists(f"{BIN}/qrelay")):
        return

    @contextlib.contextmanager
    def served():
        with tempfile.TemporaryDirectory(prefix="qspool-bench-", dir="/dev/shm") as memory:
            with nats(place, memory) as url:
                yield memory, url

    def rate(argv_of):
        with served() as (memory, url):
            return count / place.timed(argv_of(memory, url))

    def push(memory, url):
        spool = f"{memory}/spool"
        argv = place.tool("qsend", spool, "--lines", "--no-sync")
        place.call(argv, stdin=place.lines(count))
        return place.tool("qrelay", spool, "push", "-q", "default", "--drain", url)

    def first_job():
        with served() as (memory, url):
            place.timed(push(memory, url))
            host, mark = f"{memory}/host", f"{memory}/ran"
            begin = time.perf_counter()
            worker = place.start(place.qwork(host, "-q", "default", "--", "touch", mark))
            relay = place.start(place.tool("qrelay", host, "pull", "-q", "default", url))
            with ended(relay), ended(worker):
                wait_until("a job on a new host", lambda: os.path.exists(mark))
            return time.perf_counter() - begin

    contestants = {
        OURS: lambda: rate(push),
        LIMIT: lambda: rate(lambda _, url: [place.program("stream"), url, str(count)]),
    }
    yield Row(
        f"qrelay push --drain, {count:,} jobs of 200 bytes",
        "jobs/s",
        contestants,
        [enough(10_000, 0.8)],
    )
    yield Row(
        "from the start of a new host to the end of its first job",
        "s",
        {OURS: first_job},
        [at_most(2, "s")],
    )


GROUPS = {
    "spawn": spawn_rows,
    "calls": calls_rows,
    "send": send_rows,
    "bulk": bulk_rows,
    "persist": persist_rows,
    "latency": latency_rows,
    "idle": idle_rows,
    "delay": delay_rows,
    "million": million_rows,
    "relay": relay_rows,
}


def sizes(quick):
    """How many jobs each row takes, or what $BENCH_SIZES says: "run=100 great=1000"."""
    said = dict(word.split("=") for word in os.environ.get("BENCH_SIZES", "").split())
    return {**SIZES[quick], **{name: int(value) for name, value in said.items()}}


def make(place, quick, chosen):
    for name, rows in GROUPS.items():
        if not chosen or name in chosen:
            for row in rows(place, sizes(quick), Peers(place), quick):
                row.group = name
                yield row


PLOT = """
set terminal svg size 800,500 background "white"
set output "{output}"
set logscale x
set format x "%.0s%c"
set yrange [0:*]
set xlabel "jobs waiting"
set ylabel "jobs a second"
set key bottom left
set grid
plot {series}
"""


def plot(done, directory):
    """Rate against backlog, of the rows that have a point in it."""
    series = collections.defaultdict(list)
    for row in done:
        if row.point and row.median(OURS):
            series[row.point[0]].append(f"{row.point[1]} {row.median(OURS):.1f}")
    if not series or not shutil.which("gnuplot"):
        return
    for i, points in enumerate(series.values()):
        with open(f"{directory}/backlog.{i}", "w", encoding="ascii") as file:
            file.write("\n".join(points) + "\n")
    lines = ", ".join(
        f"'{directory}/backlog.{i}' with linespoints title '{name}'"
        for i, name in enumerate(series)
    )
    script = PLOT.format(output=f"{directory}/backlog.svg", series=lines)
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
