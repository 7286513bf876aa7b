#!/usr/bin/env python3
"""Power cuts, replayed: what was acknowledged survives, whatever the disk had written.

How it works:

1. disk.c, a FUSE file system of one file, is a disk that logs each write, flush and discard in
   order. A loop device on it carries a real ext4, XFS or btrfs with a spool.
2. The workload: the real tools send, work, bury, kick and delete at the same time. Whatever they
   acknowledge is an event, noted outside that disk together with the POSITION, the length of the
   disk's log at that moment.
3. replay.c rebuilds the disk as the power may have left it at some position: everything up to the
   last flush before it, and of the writes since then none, all, or a random choice. The
   file system mounts the copy and recovers by its own journal.
4. The checker holds the spool against the events up to that position. Then qwork drains it with a
   handler that verifies each payload, and the checker looks again.
5. Planted faults: tools that leave out a flush, or make it too late, must raise the alarm.

The queue "work" has workers; in "still" nothing moves by itself, so that the checker can be
strict about it: a job that nobody moves is in exactly one place.

Many of the jobs have a key, are members of a batch, or wait for others. That a key is held
acknowledges the job that holds it. What a power cut undoes may bring a job back whose key another has
by then: one of the two is buried.

What may be wrong with a state, as it is counted and printed: a job is "lost" (acknowledged, and gone
or never run), "half-visible" (published without its whole content or options), "double" (in two
places, two files, run twice, or two that hold one key); what was done to it is "undone"; it was let go
on too "early", when what it waits for had not finished before the cut and has not since, or is
"stuck", waiting for nothing; "qfsck" names a fault; the file system or the spool is "unreadable".

Exit status: 0 sound, 1 a promise was broken (or a planted fault was not noticed), 77 something
that the test needs is missing, which is named.
"""

import argparse
import collections
import itertools
import json
import math
import multiprocessing
import os
import random
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from subprocess import PIPE

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.abspath(os.environ.get("QSPOOL_BIN", os.path.join(HERE, "../../../bin")))
# The programs of this test are built beside the tools.
BUILT = os.path.join(os.path.dirname(BIN), "test/crash/powercut")
HOOKED = os.path.join(os.path.dirname(BIN), "test/crash/tools")
DISK, REPLAY, JOB = (os.path.join(BUILT, name) for name in ("disk", "replay", "job"))

RECORD = struct.Struct("4Q")  # struct record of log.h
FLUSH, WRITE = ord("F"), ord("W")
QUEUES = ("work", "still")
READY = {"new", "delay", "cur"}
ROOM = 16  # jobs in a queue at which senders wait: few, so that a state is quickly examined
DEADLINE = 300  # seconds for one call of a tool
FOREVER = math.inf
EX_DATAERR, EX_NOINPUT = 65, 66

TOOLS = {"bury": "qbury", "kick": "qkick", "delete": "qdel"}

FileSystem = collections.namedtuple("FileSystem", "size mkfs mount")
FILE_SYSTEMS = {
    "ext4": FileSystem("64M", "mkfs.ext4 -q -b 4096", "loop"),
    "xfs": FileSystem("100M", "mkfs.xfs -q --unsupported", "loop,nouuid"),
    "btrfs": FileSystem("256M", "mkfs.btrfs -q", "loop"),
}


class Broken(Exception):
    """The test itself cannot go on."""


def run(*command, **options):
    """Runs a program to its end; its output is text."""
    options = dict(capture_output=True, text=True, timeout=DEADLINE, check=False, **options)
    return subprocess.run(command, **options)


def must(*command, **options):
    done = run(*command, **options)
    if done.returncode != 0:
        raise Broken(f"{shlex.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def wait_until(condition, what):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"waited in vain until {what}")
        time.sleep(0.005)


# --- recording ---------------------------------------------------------------


class Recording:
    """A disk with its log, and the events on the way; all in one directory."""

    def __init__(self, directory, fs, seed):
        self.dir, self.fs, self.seed = directory, fs, seed
        self.index = os.path.join(directory, "index")
        self.events = os.path.join(directory, "events")
        self.mount = os.path.join(directory, "fs")
        self.spool = os.path.join(self.mount, "spool")

    def __enter__(self):
        kind = FILE_SYSTEMS[self.fs]
        image, base = os.path.join(self.dir, "image"), os.path.join(self.dir, "base")
        fuse = os.path.join(self.dir, "fuse")
        os.mkdir(fuse)
        os.mkdir(self.mount)
        open(self.events, "x", encoding="utf-8").close()
        must("truncate", "-s", kind.size, image)
        must(*kind.mkfs.split(), image)
        must("cp", "--sparse=always", image, base)
        self.disk = subprocess.Popen([DISK, self.dir, fuse])
        disk = os.path.join(fuse, "disk")
        wait_until(lambda: self.disk.poll() is not None or os.path.exists(disk), "the disk is there")
        must("mount", "-t", self.fs, "-o", kind.mount, disk, self.mount)
        must("mkdir", "-m", "700", self.spool)
        return self

    def __exit__(self, failed, *_):
        if failed:  # all is unmounted with the namespace
            return
        must("umount", self.mount)
        must("umount", os.path.join(self.dir, "fuse"))
        if self.disk.wait() != 0:
            raise Broken("the disk has failed")
        os.unlink(os.path.join(self.dir, "image"))

    def position(self):
        return os.stat(self.index).st_size // RECORD.size

    def note(self, what, *details):
        """Adds an event. The position is taken first: for what the event allows that is early enough,
        and what it promises was promised before the call."""
        line = " ".join(map(str, (self.position(), what, *details))) + "\n"
        with open(self.events, "a", encoding="utf-8") as events:
            events.write(line)

    def kinds(self, first=0):
        """What the records from FIRST on are."""
        with open(self.index, "rb") as index:
            index.seek(first * RECORD.size)
            whole = index.read()
        return [record[0] for record in RECORD.iter_unpack(whole)]

    def forget(self):
        """Empties the queues, and the events are as if nothing had ever been sent."""
        for queue in QUEUES:
            must(os.path.join(BIN, "qdel"), "-s", self.spool, "-q", queue, "--all")
        must("sync", "-f", self.spool)
        os.truncate(self.events, 0)

    def flushes_of(self, action):
        before = self.position()
        action()
        return self.kinds(before).count(FLUSH)

    def tool(self, name, *arguments, where=BIN, **options):
        return run(os.path.join(where, name), "-s", self.spool, *arguments, **options)


class Workload:
    """Everything that happens on the recorded disk."""

    def __init__(self, recording, tools=BIN, fault=None):
        self.recording, self.tools = recording, tools
        self.environment = dict(os.environ, **({"QSPOOL_FAULT": fault} if fault else {}))
        self.stopped = threading.Event()
        self.serials = iter(range(1, 1 << 31))
        self.lock = threading.Lock()
        self.errors = []
        self.batch = dict.fromkeys(QUEUES, 1)  # the one that is being filled
        self.recent = collections.deque(maxlen=12)  # ids

    def tool(self, name, *arguments, **options):
        return self.recording.tool(name, *arguments, where=self.tools, env=self.environment, **options)

    # Senders

    def payload(self, size, meta=False):
        with self.lock:
            serial = next(self.serials)
        return serial, f"{serial}:{size}" + (":meta" if meta else "")

    def send(self, queue, payloads, *options):
        """Sends PAYLOADS, as made by payload(), by one qsend; notes each id that it printed."""
        text = must(JOB, "make", *(words for _, words in payloads)) if payloads else ""
        sent = self.tool("qsend", "-q", queue, *options, input=text)
        ids = sent.stdout.split()
        how = "no-sync" if "--no-sync" in options else "sync"
        if sent.returncode != 0 or len(ids) != max(1, len(payloads)):
            raise Broken(f"qsend: status {sent.returncode}, {len(ids)} ids: {sent.stderr.strip()}")
        for job, (serial, _) in zip(ids, payloads or [(0, "")]):
            self.recording.note("sent", job, serial, queue, how)
            self.recent.append(job)

    def send_slowly(self, queue, payload):
        """Like send() of one job, but the file system commits all it has while the job is being written."""
        serial, words = payload
        text = must(JOB, "make", words).encode()
        command = [os.path.join(self.tools, "qsend"), "-s", self.recording.spool, "-q", queue]
        with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, env=self.environment) as qsend:
            qsend.stdin.write(text[: len(text) // 2])
            qsend.stdin.flush()
            wait_until(lambda: self.jobs_in(queue, "tmp"), "the job is in tmp/")
            must("sync", "-f", self.recording.spool)
            job, _ = qsend.communicate(text[len(text) // 2 :], timeout=DEADLINE)
        if qsend.returncode != 0:
            raise Broken(f"qsend: status {qsend.returncode}")
        self.recording.note("sent", job.decode().strip(), serial, queue, "sync")

    def send_any(self, queue, chance):
        size = int(chance.choice((100, 500, 4096, 5000, 30000, chance.randint(60, 200 << 10))))
        kind = chance.choices(
            ("plain", "slow", "meta", "bulk", "no-sync", "no-sync meta", "delayed", "empty"),
            (35, 5, 15, 10, 10, 3, 12, 5),
        )[0]
        options = ["-p", str(chance.randint(10, 90))]
        if kind == "bulk":
            sizes = chance.choices((80, 700, 5000), k=chance.randint(9, 14))
            self.send(queue, [self.payload(few) for few in sizes], "--lines", *options)
            return
        if kind == "slow":
            self.send_slowly(queue, self.payload(size))
            return
        if kind == "empty":  # its priority says that it may be
            self.send(queue, [], "-p", "99")
            return
        serial, words = self.payload(size, "meta" in kind)
        if "no-sync" in kind:
            options += ["--no-sync"]
        if kind == "delayed":
            options += ["--delay", f"{chance.randint(50, 900)}ms"]
        if "meta" in kind:
            options += ["--env", f"POWERCUT={serial}", "--header", f"Serial: {serial}"]
            options += ["--", str(serial)]
        self.send(queue, [(serial, words)], *options)

    def send_ordered(self, queue, payloads, options, order):
        """Like send(), of jobs with these options that order them among others, {name: [word...]}. What
        is refused, since a batch is sealed or not begun, or what it names was deleted, is no event; neither is a payload whose key is
        held, but the id of who holds it was made durable."""
        text = must(JOB, "make", *(words for _, words in payloads))
        options = [*options, *(f"--{name}={word}" for name, words in order.items() for word in words)]
        sent = self.tool("qsend", "-v", "-q", queue, *options, input=text)
        ids = sent.stdout.split()
        refused = sent.returncode in (EX_DATAERR, EX_NOINPUT)  # those whose ids it printed were not
        held = sent.returncode == 0 and "nothing was sent" in sent.stderr
        if not refused and (sent.returncode != 0 or len(ids) != (1 if held else len(payloads))):
            raise Broken(f"qsend: status {sent.returncode}, {len(ids)} ids: {sent.stderr.strip()}")
        if held:
            self.recording.note("held", ids[0])
            return
        how = "no-sync" if "--no-sync" in options else "sync"
        words = [f"{name}={','.join(words)}" for name, words in order.items()]
        for job, (serial, _) in zip(ids, payloads):
            self.recording.note("sent", job, serial, queue, how, *words)
            self.recent.append(job)

    def choose_order(self, queue, chance):
        """A key, a batch, what to wait for; and how many jobs."""
        kind = chance.choice(("key", "key", "key", "member", "member", "merge", "after", "after", "key after"))
        order, count = {}, 1
        batch = self.batch[queue]
        if "key" in kind:
            order["key"] = [f"{queue}/{chance.randint(1, 3)}"]  # no label of a directory as it stands
            if chance.random() < 0.2:
                order["key-until"] = ["start"]
        if kind == "member":
            order["batch"] = [f"{queue}/{batch}"]
            count = chance.choice((1, 1, 1, 2, 2, 9))
        if kind == "merge":
            order["after"] = [f"{queue}/{batch}"]
            self.batch[queue] = batch + 1
        if "after" in kind:
            ids = list(self.recent)
            order["after"] = chance.sample(ids, min(len(ids), chance.randint(1, 2)))
        return order, count

    def send_in_order(self, queue, chance):
        order, count = self.choose_order(queue, chance)
        options = ["-p", str(chance.randint(10, 90))] + ["--lines"] * (count > 1)
        if chance.random() < 0.1:
            options += ["--no-sync"]
        if chance.random() < 0.15:
            options += ["--delay", f"{chance.randint(50, 900)}ms"]
        if chance.random() < 0.3:
            options += ["--keep", "1h"]
        sizes = chance.choices((80, 700, 5000, 30000), k=count)
        self.send_ordered(queue, [self.payload(size) for size in sizes], options, order)

    def jobs_in(self, queue, *states):
        directory = os.path.join(self.recording.spool, queue)
        return [name for state in states for name in os.listdir(os.path.join(directory, state))]

    def waiting(self, queue):
        """The names of its jobs in .wait/."""
        names = []
        for directory, _, files in os.walk(os.path.join(self.recording.spool, ".wait")):
            names += [name for name in files if name.endswith("@" + queue)]
        return names

    def sender(self, queue, chance):
        while not self.stopped.is_set():
            jobs = self.jobs_in(queue, "new", "delay", "cur", "buried") + self.waiting(queue)
            if len(jobs) < ROOM:
                send = chance.choice((self.send_any, self.send_in_order, self.send_in_order))
                send(queue, chance)
            else:
                self.stopped.wait(0.002)

    # Operators

    def operate(self, verb, queue, name):
        job = Name(name).id
        self.recording.note("begin-" + verb, job)
        delayed = ["--delayed"] if verb == "kick" else []
        done = self.tool(TOOLS[verb], "-v", "-q", queue, *delayed, job)
        self.recording.note(verb if job in done.stdout.split() else "not-" + verb, job)

    def operator(self, queue, chance):
        while not self.stopped.wait(0.01):
            buried = self.jobs_in(queue, "buried")
            ready = self.jobs_in(queue, "new", "delay") + self.waiting(queue)
            if len(buried) > ROOM // 4 or (buried and chance.random() < 0.2):
                self.operate(chance.choice(("kick", "delete")), queue, chance.choice(buried))
            elif ready:
                verb = chance.choice(("bury", "bury", "delete", "kick"))
                self.operate(verb, queue, chance.choice(ready))

    # Workers

    def worker(self):
        """qwork; what it runs is noted by the handler."""
        command = [os.path.join(self.tools, "qwork"), "-s", self.recording.spool, "-q", "work"]
        command += ["-j", "2", "-A", "2", "-b", "20ms..200ms", "--", JOB, "run"]
        command += [self.recording.events, self.recording.index, "fail"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as qwork:
            self.stopped.wait()
            qwork.terminate()

    def guarded(self, function, *arguments):
        try:
            function(*arguments)
        except Exception as error:  # noqa: whatever it is, the run is void
            self.errors.append(error)
            self.stopped.set()

    def at_once(self, flushes, functions):
        """Runs (function, argument...) side by side until the disk has seen so many flushes."""
        threads = [threading.Thread(target=self.guarded, args=function) for function in functions]
        seen, counted = self.recording.position(), 0
        for thread in threads:
            thread.start()
        while counted < flushes and not self.stopped.wait(0.02):
            new = self.recording.kinds(seen)
            seen, counted = seen + len(new), counted + new.count(FLUSH)
        self.stopped.set()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def make_queues(self):
        for queue in QUEUES:
            self.send(queue, [], "-p", "99")

    def everything(self, flushes):
        chances = [random.Random(f"{self.recording.seed} {i}") for i in range(7)]
        self.at_once(
            flushes,
            [(self.sender, "work", chances[i]) for i in range(3)]
            + [(self.sender, "still", chances[i]) for i in (3, 4)]
            + [(self.operator, "work", chances[5]), (self.operator, "still", chances[6])]
            + [(self.worker,), (self.worker,)],
        )

    # For planted faults: the one thing, and nothing beside it whose flushes would hide what is missing.

    def one_by_one(self):
        for _ in range(12):
            self.send("still", [self.payload(9000)])

    def side_by_side(self):
        """So that the journal is committed by one sender between two steps of another."""

        def sender():
            while not self.stopped.is_set():
                self.send("still", [self.payload(9000)])

        self.at_once(100, [(sender,), (sender,), (sender,)])

    def slowly(self):
        for _ in range(6):
            self.send_slowly("still", self.payload(9000))

    def batches(self):
        for _ in range(4):
            self.send("still", [self.payload(9000) for _ in range(12)], "--lines")

    def dependents(self):
        self.send("still", [self.payload(9000)])
        order = {"after": [self.recent[-1]]}
        for _ in range(12):
            self.send_ordered("still", [self.payload(9000)], [], order)

    def releases(self):
        """Burials of what had waited in a directory that is no more."""
        handler = ["--", JOB, "run", self.recording.events, self.recording.index]
        for _ in range(6):
            self.send("work", [self.payload(9000)])
            self.send_ordered("still", [self.payload(9000)], [], {"after": [self.recent[-1]]})
            must("sync", "-f", self.recording.spool)
            done = self.tool("qwork", "-q", "work", "--drain", *handler)
            if done.returncode != 0:
                raise Broken(f"qwork: status {done.returncode}: {done.stderr}")
            self.burials()

    def members(self):
        for batch in range(6):
            self.send_ordered("still", [self.payload(9000)], [], {"batch": [str(batch)]})
            self.send_ordered("still", [self.payload(9000)], [], {"after": [str(batch)]})

    def keys(self):
        for key in range(12):
            self.send_ordered("still", [self.payload(9000)], [], {"key": [str(key)]})

    def holders(self):
        """Whose senders did not wait for the disk, but those that wanted their keys."""
        for key in range(6):
            for options in ["--no-sync"], []:
                self.send_ordered("still", [self.payload(9000)], options, {"key": [str(key)]})

    def burials(self):
        for name in self.jobs_in("still", "new"):
            self.operate("bury", "still", name)

    def removals(self):
        """Rule CHANGED-THEN-SYNC: each process syncs another file, and then the one directory beside all others."""
        recording = self.recording
        self.send("still", [self.payload(80) for _ in range(48)], "--lines")
        must("sync", "-f", recording.spool)
        names = [name for name in self.jobs_in("still", "new") if not Name(name).may_be_empty]
        for name in names:
            recording.note("begin-delete", Name(name).id)
        directory, beside = (os.path.join(recording.mount, path) for path in ("spool/still/new", "beside"))
        os.mkdir(beside)
        command = [JOB, "remove", directory, beside, recording.events, recording.index]
        self.at_once(1, [(must, *command, *names[i::4]) for i in range(4)])

    def batch_flushes(self):
        """Flushes that 64 jobs cost in one batch, and one by one."""
        batch = [self.payload(100) for _ in range(64)]
        return [
            self.recording.flushes_of(lambda: self.send("still", batch, "--lines")),
            self.recording.flushes_of(lambda: [self.send("still", [self.payload(100)]) for _ in batch]),
        ]


# --- what was acknowledged ---------------------------------------------------


class Name:
    """The name of a job: [DUE.]PP.ID.N[,MARK]...[@QUEUE], or ID alone in tmp/."""

    def __init__(self, name):
        self.fields, *self.marks = name.partition("@")[0].split(",")
        words = self.fields.split(".")
        self.id = words[-2] if len(words) > 1 else name
        self.may_be_torn = any(mark[0] == "s" for mark in self.marks)
        self.may_be_empty = len(words) > 2 and words[-3] == "99"


# What may have happened to a job from BEGIN on; and has, durably, at END, which is FOREVER if
# nobody said so.
Step = collections.namedtuple("Step", "what begin end")
# Where a step leads: "ready" is new/, delay/ or cur/, and who is kept in done/ is gone. A job is
# orphaned when one for which it waits is deleted, unless it could go on before.
LEADS_TO = {
    "bury": "buried",
    "kick": "ready",
    "delete": "gone",
    "gave-up": "buried",
    "ran": "gone",
    "orphaned": "buried",
}


class Acknowledged:
    """What is known of one job, from the events."""

    def __init__(self, job):
        self.id, self.serial, self.queue = job, None, None
        self.durable = FOREVER  # position from which it must survive
        self.sent = FOREVER
        self.order = {}  # as send_ordered() takes it
        self.waits_for = []  # jobs, the members of batches among them
        self.deletions = []  # positions at which one was tried
        self.steps = []

    def add(self, position, what, details):
        if what == "sent":
            self.serial, self.queue, how, *words = details
            self.sent = position
            self.order = {name: text.split(",") for name, text in (word.split("=", 1) for word in words)}
            if how == "sync":
                self.durable = min(self.durable, position)
        elif what == "held":
            self.durable = min(self.durable, position)
        elif what in ("gave-up", "ran"):
            self.steps.append(Step(what, position, FOREVER))
        elif what.startswith("begin-"):
            self.steps.append(Step(what[6:], position, FOREVER))
            if what == "begin-delete":
                self.deletions.append(position)
        elif what.startswith("not-"):
            self.steps.pop(self.begun(what[4:]))
        elif what in TOOLS:
            i = self.begun(what)
            self.steps[i] = self.steps[i]._replace(end=position)
            if what == "kick":  # which syncs the payload of a job that was sent without
                self.durable = min(self.durable, position)

    def begun(self, verb):
        return max(i for i, step in enumerate(self.steps) if step.what == verb)

    def may_be(self, position):
        """Where the job may be after a power cut at POSITION; and whether that is final, nothing
        having begun since the last acknowledgement."""
        begun = [step for step in self.steps if step.begin <= position]
        last = max((i for i, step in enumerate(begun) if step.end <= position), default=None)
        since = begun if last is None else begun[last + 1 :]
        if last is None:
            before = {"ready", "waiting"} if self.waits_for else {"ready"}
        else:
            before = {LEADS_TO[begun[last].what]}
        return before | {LEADS_TO[step.what] for step in since}, not since

    def did(self, what, position):
        return any(step.what == what and step.begin <= position for step in self.steps)

    def lets_go(self, dependent, position):
        """May what waits for this job go on at POSITION? Also if it may be lost, or was nowhere when the
        dependent was sent: then it counts as over."""
        return (
            self.durable > position
            or self.did("ran", position)
            or any(begin <= dependent.sent for begin in self.deletions)
        )

    def keeps_waiting(self, position):
        """What this job must still wait for if the power fails at POSITION, unless that ends first."""
        if self.did("kick", position):
            return []
        return [job for job in self.waits_for if not job.lets_go(self, position)]

    def may_lack_its_key(self, position):
        """It has had a reason to give it back."""
        return "key-until" in self.order or any(step.begin <= position for step in self.steps)


def link_up(jobs):
    """Finds what each job waits for. With what is deleted goes what waits for it."""
    batches = collections.defaultdict(list)
    for job in jobs.values():
        for batch in job.order.get("batch", []):
            batches[batch].append(job)
    for job in jobs.values():
        for name in job.order.get("after", []):
            job.waits_for += [jobs[name]] if name in jobs else batches[name]
        orphaned = [begin for other in job.waits_for for begin in other.deletions]
        job.steps += [Step("orphaned", begin, FOREVER) for begin in orphaned]
        job.steps.sort(key=lambda step: step.begin)


def read_events(path):
    """The jobs by id, and how often each was acknowledged, also as one with a key and so on."""
    jobs = {}
    count = collections.Counter()
    with open(path, encoding="utf-8") as events:
        for line in events:
            position, what, job, *details = line.split()
            jobs.setdefault(job, Acknowledged(job)).add(int(position), what, details)
            if what in TOOLS or what in ("sent", "held", "ran"):
                count[what] += 1
            count.update(word.partition("=")[0] for word in details[3:])
    link_up(jobs)
    return jobs, count


# --- the checker -------------------------------------------------------------

File = collections.namedtuple("File", "queue dir name inode size serial")


def look(spool):
    """The jobs that the spool holds by id, each a list of its files."""
    found = collections.defaultdict(list)
    for line in must(JOB, "look", spool).splitlines():
        queue, directory, name, inode, size, serial = line.split()
        if queue == ".wait":
            queue, directory = name.partition("@")[2], f".wait/{directory}"
        found[Name(name).id].append(File(queue, directory, Name(name), inode, int(size), serial))
    return found


def look_at_links(spool):
    """The inodes of the jobs that have a key and that are members of a batch: {(what, id): inode}."""
    links = {}
    for what in ("key", "batch"):
        for directory, _, names in os.walk(os.path.join(spool, "." + what)):
            for name in names if ".draft-" not in directory else []:
                inode = os.stat(os.path.join(directory, name)).st_ino
                links[what, name.partition("@")[0]] = str(inode)
    return links


def published(files):
    """Without what is finished, and kept."""
    return [file for file in files if file.dir not in ("tmp", "done")]


def place(file):
    if file.dir in READY:
        return "ready"
    return "buried" if file.dir == "buried" else "waiting"


def check_content(found):
    """No job that is published is half there; with --no-sync the name says that it may be."""
    for job, files in found.items():
        for file in published(files):
            torn = file.serial == "torn" or (file.size == 0) != file.name.may_be_empty
            if torn and not file.name.may_be_torn:
                yield "half-visible", f"{job} in {file.queue}/{file.dir} is torn"


def check_single(found):
    """One id is one file; until recovery it may have two names. One payload has one id."""
    owners = {}
    for job, files in found.items():
        if len({file.inode for file in files}) > 1:
            yield "double", f"{job} is two files"
        for file in published(files):
            if file.serial not in ("0", "torn") and owners.setdefault(file.serial, job) != job:
                yield "double", f"{job} has the payload of {owners[file.serial]}"


def check_acknowledged(found, jobs, position):
    """Each job is where its last acknowledgement says, or on the way to where it was being moved."""
    for job in jobs:
        if job.durable > position:
            continue
        files = found.get(job.id, [])
        places = {place(file) for file in published(files)} or {"gone"}
        allowed, final = job.may_be(position)
        if not places <= allowed:
            kind = "lost" if places == {"gone"} else "undone"
            yield kind, f"{job.id} ({job.queue}) is {'+'.join(places)}, not {' or '.join(allowed)}"
        if any(file.serial != job.serial for file in published(files)):
            yield "half-visible", f"{job.id} is torn, or has the payload of another job"
        # Rule TWINS: a name in tmp/ that a cut leaves (btrfs) is left to the sweep.
        if job.queue == "still" and final and not job.waits_for and len(published(files)) > 1:
            yield "double", f"{job.id} is in {' and '.join(file.dir for file in files)}"


def check_order(found, links, jobs, position):
    """Nothing was let go on too early. What nobody touched has its key and its batch, and no key has two
    of them."""
    holders = {}
    for job in jobs.values():
        if any(place(file) == "ready" for file in published(found.get(job.id, []))):
            for other in job.keeps_waiting(position):
                yield "early", f"{job.id} is ready, and {other.id} has not finished"
        if job.durable > position or job.may_lack_its_key(position):
            continue
        inodes = {file.inode for file in found.get(job.id, [])}
        for what in {"key", "batch"} & job.order.keys():
            if links.get((what, job.id)) not in inodes:
                yield "lost", f"{job.id} has lost its {what}"
        for key in job.order.get("key", []):
            if holders.setdefault(key, job.id) != job.id:
                yield "double", f"{job.id} has the key of {holders[key]}"


def lacks_options(finding, jobs, position):
    """A job that has run may be there again without its options, which went when it finished."""
    job = jobs.get(finding.get("id"))
    reasons = "its options are missing", "no such job names this in its options"
    return finding.get("reason") in reasons and job is not None and job.did("ran", position)


def check_spool(spool, drained, jobs, position):
    """qfsck; after qwork has recovered, not even what recovery mends may be left, but for a name in
    tmp/, which is left to the sweep (rule TWINS)."""
    done = run(os.path.join(BIN, "qfsck"), "-s", spool, "--json")
    if done.returncode not in (0, 1):
        yield "qfsck", f"status {done.returncode}: {done.stderr.strip()}"
    for finding in map(json.loads, done.stdout.splitlines()):
        if lacks_options(finding, jobs, position):
            continue
        left = "twin" in finding.get("kind", "") and finding.get("dir") != "tmp"
        if finding["class"] == "fault" or (drained and left):
            yield "qfsck", f"{'after the drain: ' if drained else ''}{finding}"


def work_off(spool, events, index):
    """Lets qwork run all that is ready. Returns what it buried, {id: cause}."""
    command = [os.path.join(BIN, "qwork"), "-s", spool, "-j4", "-A1000", "-b1ms", "--drain"]
    qworks = [
        subprocess.Popen([*command, "-q", queue, "--", JOB, "run", events, index], stderr=PIPE, text=True)
        for queue in QUEUES
    ]
    buried = {}
    try:
        for qwork in qworks:
            _, log = qwork.communicate(timeout=DEADLINE)
            if qwork.returncode != 0:
                raise Broken(f"qwork: status {qwork.returncode}: {log}")
            for line in log.splitlines():
                fields = dict(word.split("=", 1) for word in shlex.split(line) if "=" in word)
                if fields.get("outcome") == "buried":
                    buried[fields["job"]] = fields["cause"]
    finally:
        for qwork in qworks:
            qwork.kill()
    return buried


def drain(spool, scratch):
    """Lets qwork run all that is there, until what waits still waits. Returns what the handlers saw,
    [(what, id)], what qwork buried, {id: cause}, and what is left."""
    events, index = os.path.join(scratch, "events"), os.path.join(scratch, "index")
    for name in (events, index):
        open(name, "w", encoding="utf-8").close()
    buried, left, before = {}, None, set()
    deadline = time.monotonic() + DEADLINE
    while left != before or (READY & {where for _, where in left} and time.monotonic() < deadline):
        before = left or set()
        buried.update(work_off(spool, events, index))
        after = look(spool)
        left = {(job, file.dir) for job, files in after.items() for file in published(files)}
        left = {(job, where) for job, where in left if where != "buried"}
    with open(events, encoding="utf-8") as lines:
        return [tuple(line.split()[1:3]) for line in lines], buried, after


def may_be_buried(job, cause, jobs, position):
    """By a qwork that finds, after a power cut, that JOB cannot run: its options went when it finished,
    and that was kept while its end was not; or its key is held, which it or the holder had lost."""
    known = jobs.get(job)
    if known is None:
        return False
    if cause.startswith("its key is held by job "):
        other = jobs.get(cause.split()[-1])
        return other is None or any(one.may_lack_its_key(position) for one in (known, other))
    return cause == "its options are missing" and known.did("ran", position)


def check_order_drained(after, ran, jobs, position):
    """Nothing ran before what it waits for, and what waits still does so for a reason."""
    when = {job: i for i, (what, job) in reversed(list(enumerate(ran))) if what == "ran"}
    for job in when:
        for other in jobs[job].keeps_waiting(position) if job in jobs else []:
            if when.get(other.id, FOREVER) > when[job]:
                yield "early", f"{job} ran, and {other.id} had not finished"
    for job, files in after.items():
        if job not in jobs or "waiting" not in map(place, published(files)):
            continue
        left = [file for other in jobs[job].waits_for for file in after.get(other.id, [])]
        if all(file.dir == "done" for file in left):
            yield "stuck", f"{job} is in {files[0].dir} after the drain"


def check_drained(before, after, ran, buried, jobs, position):
    """Each job that was there has run once, is buried, or waits for one that is; nothing ran torn
    and nothing is left over."""
    times = collections.Counter(job for what, job in ran if what == "ran")
    for what, job in ran:
        if what != "ran":
            yield "half-visible", f"{job} ran torn"
    for job, files in before.items():
        ready = [file for file in published(files) if file.dir != "buried"]
        kept = published(after.get(job, []))
        if published(files) and not times[job] and not kept:
            yield "lost", f"{job} is gone, and has not run"
        if times[job] > 1 or (times[job] and kept) or len(kept) > 1:
            yield "double", f"{job} ran {times[job]} times, and is in {len(kept)} places"
        if job in buried and not (
            any(file.name.may_be_torn or file.dir == "cur" for file in ready)
            or may_be_buried(job, buried[job], jobs, position)
        ):
            yield "half-visible", f"{job} was buried: {buried[job]}"
    for job, files in after.items():
        for file in published(files):
            if place(file) == "ready":
                yield "lost", f"{job} is still in {file.dir} after the drain"


# --- crash states ------------------------------------------------------------

State = collections.namedtuple("State", "position keep")  # as replay.c takes them
KINDS = ("lost", "half-visible", "double", "undone", "early", "stuck", "qfsck", "unreadable")


class Examiner:
    """Rebuilds states and checks them, one after the other; each process has its own."""

    def __init__(self, recording, directory):
        self.recording = recording
        self.jobs, _ = read_events(recording.events)
        self.dir = tempfile.mkdtemp(prefix="state.", dir=directory)
        self.mount = os.path.join(self.dir, "fs")
        self.image = os.path.join(self.dir, "image")
        os.mkdir(self.mount)
        self.replay = subprocess.Popen(
            [REPLAY, recording.dir], stdin=PIPE, stdout=PIPE, text=True
        )

    def rebuild(self, state):
        print(*state, self.image, file=self.replay.stdin, flush=True)
        if self.replay.stdout.readline() != "done\n":
            raise Broken("replay has ended")

    def mount_image(self, *options):
        fs = self.recording.fs
        options = ",".join([FILE_SYSTEMS[fs].mount, *options])
        return run("mount", "-t", fs, "-o", options, self.image, self.mount)

    def is_sound_without_log(self):
        """Nothing that was acknowledged by the log is there then, but the file system is."""
        mounted = self.mount_image("ro", "rescue=nologreplay")
        if mounted.returncode == 0:
            must("umount", self.mount)
        return mounted.returncode == 0

    def examine(self, state):
        """How many jobs were checked, and the faults. None: the kernel has died of the log of btrfs (a BUG of
        Linux 6.18, which ends mount by a signal), and nothing can be said of that state."""
        self.rebuild(state)
        mounted = self.mount_image()
        if mounted.returncode == -signal.SIGSEGV and self.recording.fs == "btrfs" and self.is_sound_without_log():
            return None, []
        if mounted.returncode != 0:
            return 0, [("unreadable", f"mount: status {mounted.returncode}: {mounted.stderr.strip()}")]
        try:
            return self.check(os.path.join(self.mount, "spool"), state.position)
        except (Broken, subprocess.TimeoutExpired) as error:
            return 0, [("unreadable", str(error))]
        finally:
            must("umount", self.mount)
            os.unlink(self.image)

    def check(self, spool, position):
        before = look(spool)
        faults = list(check_content(before))
        faults += check_single(before)
        faults += check_acknowledged(before, self.jobs.values(), position)
        faults += check_order(before, look_at_links(spool), self.jobs, position)
        faults += check_spool(spool, False, self.jobs, position)
        ran, buried, after = drain(spool, self.dir)
        faults += check_drained(before, after, ran, buried, self.jobs, position)
        faults += check_order_drained(after, ran, self.jobs, position)
        faults += check_spool(spool, True, self.jobs, position)
        durable = (job for job in self.jobs.values() if job.durable <= position)
        expected = {job.id for job in durable if "gone" not in job.may_be(position)[0]}
        return len(expected | set(before)), faults


def choose_states(recording, first, last, count, chance):
    """COUNT states between two positions: each flush with nothing behind it, as late as that disk
    could be found, for then most was acknowledged; and at random positions all the writes, or a
    random choice of those that were not flushed."""
    kinds = recording.kinds(first)[: last - first]
    flushes = [first + i for i, kind in enumerate(kinds) if kind == FLUSH]
    if len(flushes) > count // 2:
        flushes = flushes[chance.randrange(2) :: math.ceil(2 * len(flushes) / count)]
    states = {State(position, "none") for position in flushes}
    for _ in range(100 * count):
        if len(states) >= count:
            break
        keep = "all" if chance.random() < 0.4 else chance.randrange(1, 1 << 32)
        states.add(State(chance.randint(first, last), keep))
    return sorted(states, key=lambda state: (state.position, str(state.keep)))


examiner = None  # of this process


def begin_examining(recording, directory):
    global examiner
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    examiner = Examiner(recording, directory)


def examine(state):
    return state, *examiner.examine(state)


def processes_for(fs):
    """Before Linux 6.7 btrfs does not mount two copies of one file system at the same time."""
    release = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])
    return 1 if fs == "btrfs" and release < (6, 7) else len(os.sched_getaffinity(0))


def examine_all(recording, states, report):
    """Calls REPORT(state, jobs, faults) for each state, until it says True."""
    with multiprocessing.Pool(
        processes_for(recording.fs), begin_examining, (recording, os.path.dirname(recording.dir))
    ) as pool:
        chunk = max(1, min(20, len(states) // 16))  # neighbours are cheap for replay.c
        for result in pool.imap_unordered(examine, states, chunksize=chunk):
            if report(*result):
                break


class Tally:
    """Counts what was examined, tells of each fault, and shows progress at a terminal."""

    def __init__(self, title, states):
        self.title, self.total, self.states, self.jobs = title, states, 0, 0
        self.died = 0  # states of which the kernel did
        self.faults = collections.Counter()
        self.first = None  # state with a fault
        self.start = time.monotonic()

    def add(self, state, jobs, faults):
        self.states += 1
        self.jobs += jobs or 0
        if jobs is None:
            self.died += 1
            print(f"{self.title}: state {state.position} {state.keep}: the kernel died of its log", flush=True)
        for kind, text in faults:
            self.faults[kind] += 1
            self.first = self.first or state
            if sum(self.faults.values()) <= 20:
                print(f"{self.title}: state {state.position} {state.keep}: {kind}: {text}", flush=True)
        if sys.stderr.isatty():
            over = self.states == self.total
            line = "\033[K" if over else f"{self.title}: {self.states} of {self.total} states"
            print(f"\r{line}", end="", file=sys.stderr, flush=True)

    def is_sound(self):
        """Of too many states of which nothing can be said the others prove little."""
        return not self.faults and 10 * self.died <= self.total

    def __str__(self):
        return (
            f"{self.states} states, {self.jobs} jobs checked: "
            + ", ".join(f"{kind} {self.faults[kind]}" for kind in KINDS)
            + f"; {time.monotonic() - self.start:.0f} s"
        )


def keep_recording(recording, state, where):
    """Saves what is needed to see the fault again."""
    kept = os.path.join(where, f"powercut-{recording.fs}-{recording.seed}")
    shutil.rmtree(kept, ignore_errors=True)
    os.mkdir(kept)
    for name in ("base", "index", "data", "events"):
        must("cp", "--sparse=always", os.path.join(recording.dir, name), kept)
    which = f"{state.position} {state.keep}"
    print(f"again: {os.path.abspath(__file__)} --fs {recording.fs} --again {kept} {which}")
    print(f"image: echo {which} IMAGE | {REPLAY} {kept}")


# A fault of the hooked tools (test/crash/hook.c), what is done with them, and the file systems on
# which that raises the alarm. Without a fault there must be none.
Plant = collections.namedtuple("Plant", "fault name doing fs")
ALL = tuple(FILE_SYSTEMS)
PLANTS = (
    Plant("skip:fsync-file:0", "no fsync of the file", Workload.one_by_one, ALL),
    Plant("skip:fsync-dir:0", "no fsync of the directories", Workload.one_by_one, ALL),
    Plant("skip:fsync-dir:2", "no fsync of the source directory at a burial", Workload.burials, ("btrfs",)),
    Plant("skip:syncfs:0", "no syncfs of a batch", Workload.batches, ALL),
    Plant("late:fsync-file:0", "rename before the fsync of the file", Workload.side_by_side, ALL),
    Plant("skip:fsync-dir:0", "no fsync of the directories at a burial", Workload.burials, ALL),
    Plant("skip:fsync-dir:0", "no fsync of the directories of what waits", Workload.dependents, ALL),
    Plant("skip:link@/.job:0", "no mark of what is waited for", Workload.dependents, ALL),
    Plant("skip:link@/open/:0", "no link in a batch", Workload.members, ALL),
    Plant("skip:replace@/.key:0", "a key is not taken", Workload.keys, ALL),
    Plant("skip:fsync-file:0,skip:fsync-dir:0", "no fsync of who holds a key", Workload.holders, ALL),
    Plant("", "nothing, keys", Workload.holders, ()),
    Plant("", "nothing, members", Workload.members, ()),
    Plant("", "nothing, burials of what was released", Workload.releases, ()),
    Plant("", "nothing, one by one", Workload.one_by_one, ()),
    Plant("", "nothing, side by side", Workload.side_by_side, ()),
    Plant("", "nothing, removals", Workload.removals, ()),
)
PLANT_STATES = 120


def plant(fault, fs, options, scratch):
    """Records tools with a fault. True if that was noticed."""
    with new_recording(scratch, fs, options.seed) as recording:
        Workload(recording).make_queues()
        if fault.doing is Workload.burials:
            Workload(recording).one_by_one()
            must("sync", "-f", recording.spool)
        first = recording.position()
        fault.doing(Workload(recording, HOOKED, fault.fault))
        last = recording.position()
    chance = random.Random(f"{options.seed} plant")
    states = choose_states(recording, first, last, PLANT_STATES, chance)
    found = []

    def alarm(state, _, faults):
        found.extend((state, *fault) for fault in faults)
        return bool(found)

    examine_all(recording, states, alarm)
    shutil.rmtree(recording.dir)
    right = bool(found) == (fs in fault.fs)
    verdict = "{1}: {2} (state {0.position} {0.keep})".format(*found[0]) if found else "no alarm"
    verdict += "" if found or fs in fault.fs else ", as it should be"
    print(f"{fs}: planted: {fault.name}: {'' if right else 'WRONG, '}{verdict}", flush=True)
    return right


def new_recording(scratch, fs, seed):
    return Recording(tempfile.mkdtemp(prefix=f"{fs}.", dir=scratch), fs, seed)


def cut_power(fs, options, scratch):
    """Records everything on one file system and examines its states. True if it is sound."""
    start = time.monotonic()
    with new_recording(scratch, fs, options.seed) as recording:
        workload = Workload(recording)
        workload.make_queues()
        batch, single = workload.batch_flushes()
        recording.forget()
        first = recording.position()
        workload.everything(max(400, options.states))
        last = recording.position()
    kinds = collections.Counter(recording.kinds(first))
    print(f"{fs}: 64 jobs cost {batch} flushes in one batch, {single} one by one")
    count = read_events(recording.events)[1]
    acknowledged = ", ".join(f"{what} {count[what]}" for what in sorted(count))
    print(
        f"{fs}: {kinds[FLUSH]} flushes, {kinds[WRITE]} writes; acknowledged: {acknowledged};"
        f" {time.monotonic() - start:.0f} s",
        flush=True,
    )
    chance = random.Random(f"{options.seed} states")
    states = choose_states(recording, first, last, options.states, chance)
    tally = Tally(fs, len(states))
    examine_all(recording, states, tally.add)
    print(f"{fs}: {tally}", flush=True)
    if tally.first:
        keep_recording(recording, tally.first, options.keep)
    shutil.rmtree(recording.dir)
    return tally.is_sound()


# --- the whole ---------------------------------------------------------------


def missing(file_systems):
    """What the test cannot do without."""
    if os.geteuid() != 0:
        yield "root"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(device):
            yield device
    if not os.path.exists(DISK):
        yield "a build with libfuse3"
    for program in ["unshare", "mount"] + [FILE_SYSTEMS[fs].mkfs.split()[0] for fs in file_systems]:
        if not shutil.which(program):
            yield program


def work(options):
    """In namespaces of its own; see isolate()."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # sent to all; the end of standard input will follow
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
    must("mount", "-t", "tmpfs", "-o", "mode=700", "none", options.scratch)
    if options.again:
        return see_again(options)
    sound = [cut_power(fs, options, options.scratch) for fs in options.fs]
    plants = itertools.product(options.plants, options.fs)
    noticed = [plant(fault, fs, options, options.scratch) for fault, fs in plants]
    print(f"{sum(noticed)} of {len(noticed)} self-tests passed" if noticed else "no faults were planted")
    return all(sound + noticed)


def see_again(options):
    """Examines one state of a recording that was kept."""
    directory, position, keep = options.again
    found = Examiner(Recording(directory, options.fs[0], options.seed), options.scratch).examine(
        State(int(position), keep)
    )
    checked = "the kernel died of its log" if found[0] is None else f"{found[0]} jobs checked"
    print(*(": ".join(fault) for fault in found[1]), checked, sep="\n")
    return not found[1]


def isolate(scratch):
    """Runs this program again as the first process of a PID and a mount namespace, until it has
    ended or this end of its standard input is closed, be it because this process was killed. With
    that first process all others end, and then the kernel unmounts and detaches everything.
    SCRATCH must not be removed before that: the mounts in it would be neither reachable nor gone."""
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", sys.executable, __file__]
    with subprocess.Popen([*command, *sys.argv[1:], "--scratch", scratch], stdin=PIPE) as inside:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: inside.stdin.close())
        return inside.wait()


def parse_arguments():
    parser = argparse.ArgumentParser(description="Replays power cuts.")
    parser.add_argument("--fs", action="append", choices=FILE_SYSTEMS, help="may be repeated; by default all")
    parser.add_argument("--states", type=int, default=2000, help="how many on each file system")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plants", type=int, default=len(PLANTS), help="how many planted faults")
    parser.add_argument("--first-plant", type=int, default=0, help="after how many others")
    parser.add_argument("--keep", default=".", help="where to keep the recording of a failure")
    again = ("RECORDING", "POSITION", "KEEP")
    parser.add_argument("--again", nargs=3, metavar=again, help="one state of such a recording")
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.fs = options.fs or list(FILE_SYSTEMS)
    options.plants = PLANTS[options.first_plant :][: options.plants]
    return options


def main():
    options = parse_arguments()
    if options.scratch:
        try:
            return 0 if work(options) else 1
        except (Broken, subprocess.TimeoutExpired) as error:
            sys.exit(f"the test has failed: {error}")
    lacking = list(missing(options.fs))
    if lacking:
        print("missing: " + ", ".join(lacking))
        return 77
    scratch = tempfile.mkdtemp(prefix="powercut.")
    try:
        return 1 if isolate(scratch) else 0
    finally:
        os.rmdir(scratch)


if __name__ == "__main__":
    sys.exit(main())
