#!/usr/bin/env python3
"""Keys, batches and dependencies in any order of events.

Rounds of a few senders, operators and dependents that know each other run beside each other, against
qworks that are killed again and again. All tools are those of test/crash/tools/, which pause at random
between their changes, and some of which die at one. What handlers note (order_handler.c) and what
the tools said is compared at the end: no two jobs of a key at once, none before what it waits
for, none left waiting, none lost.
"""

import argparse
import collections
import concurrent.futures
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
QUEUES = ("one", "two")
EPOCH = 200  # rounds that share a spool
AT_ONCE = 6  # rounds
PAUSE_US = 2000
ATTEMPTS = 3
DEADLINE = 60  # seconds for any tool
LATER_MS = 2 * 3600 * 1000  # the clock of the last qworks: what is left over is old
TRIES_AT_END = 60

# Of one qsend: its payload's token, what it printed, from when to when (monotonic ns) it ran, options
Sent = collections.namedtuple("Sent", "token id begin end key plan after batch")


class Epoch:
    """A spool, its qworks and their nemesis, and what was done to it."""

    def __init__(self, options, number):
        self.options = options
        self.number = number
        self.random = random.Random(f"{options.seed}.{number}")
        self.directory = tempfile.mkdtemp(prefix="interleave.", dir=options.directory)
        self.spool = os.path.join(self.directory, "spool")
        os.mkdir(os.path.join(self.directory, "keys"))
        open(self.path("history"), "wb").close()
        self.lock = threading.Lock()
        self.sent = []
        self.operated = []  # (verb, id, begin)
        self.broken = []
        self.calm = threading.Event()

    def path(self, name):
        return os.path.join(self.directory, name)

    def wrong(self, text):
        with self.lock:
            self.broken.append(f"epoch {self.number}: {text}")

    # --- tools ---

    def environment(self, fault=None, pause=PAUSE_US):
        environment = {**os.environ, "ORDER": self.directory, "TMPDIR": self.directory}
        if pause:
            environment["QSPOOL_FAULT_PAUSE"] = str(pause)
        if fault:
            environment["QSPOOL_FAULT"] = fault
        return environment

    def start(self, tool, *arguments, fault=None, **more):
        command = [os.path.join(self.options.hooked, tool), "-s", self.spool, *arguments]
        environment = self.environment(fault)
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, **more)

    def run(self, tool, *arguments, stdin=b"", fault=None):
        """Exit status, standard output, standard error, begin and end."""
        begin = time.monotonic_ns()
        pipe = subprocess.PIPE
        with self.start(tool, *arguments, fault=fault, stdout=pipe, stderr=pipe) as process:
            try:
                out, err = process.communicate(stdin, DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                self.wrong(f"{tool} {arguments} hangs: {err.decode()}")
        return process.returncode, out.decode().split(), err.decode(), begin, time.monotonic_ns()

    def send(
        self, chance, token, *arguments, key=None, plan="ok", after=(), batch=None, refused=(), dies=0.0
    ):
        """One job. AFTER: ids or a batch; REFUSED: exit statuses that are no surprise."""
        fault = f"kill-before:any:{chance.randint(1, 25)}" if chance.random() < dies else None
        options = ["-q", chance.choice(QUEUES), *arguments]
        options += ["--key", key] if key else []
        options += ["--batch", batch] if batch else []
        options += [f"--after={name}" for name in after]
        payload = f"{token} {key or '-'} {plan}\n".encode()
        status, out, err, begin, end = self.run("qsend", *options, stdin=payload, fault=fault)
        killed = status == -signal.SIGKILL and fault
        if status != 0 and status not in refused and not killed:
            self.wrong(f"{token}: qsend {options} exits {status}: {err}")
        identity = out[0] if out and status == 0 else None
        with self.lock:
            self.sent.append(Sent(token, identity, begin, end, key, plan, after, batch))
        return identity

    def operate(self, verb, identity):
        """It may have ended, run or be in motion: that is no surprise, and then nothing was done."""
        begin = time.monotonic_ns()
        status, _, err, _, _ = self.run(verb, identity)
        if status not in (0, 65, 66, 75):
            self.wrong(f"{verb} {identity} exits {status}: {err}")
        with self.lock:
            self.operated.append((verb, identity, begin, status))

    # --- rounds ---

    def plan(self, chance):
        return chance.choice(("ok", "ok", "ok", "again", "bad"))

    def some_operation(self, chance, identity, verbs=("qbury", "qkick", "qdel"), within=0.01):
        if identity and chance.random() < 0.5:
            time.sleep(chance.random() * within)
            self.operate(chance.choice(verbs), identity)

    def together(self, *calls):
        threads = [threading.Thread(target=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def round_of_key(self, name, chance):
        def sender(n):
            arguments = chance.choice(([], [], ["-d", "2ms"], ["-p", "7"]))
            identity = self.send(chance, f"{name}.{n}", *arguments, key=name, plan=self.plan(chance), dies=0.1)
            self.some_operation(chance, identity)

        for _ in range(chance.randint(1, 2)):
            names = [f"{chance.random()}.{n}" for n in range(chance.randint(2, 4))]
            self.together(*[lambda n=n: sender(n) for n in names])

    def round_of_batch(self, name, chance):
        begun = []

        def member(n):
            key = f"{name}.{n}" if chance.random() < 0.3 else None
            plan = self.plan(chance)
            identity = self.send(
                chance, f"{name}.{n}", batch=name, key=key, plan=plan, refused=(65,), dies=0.1
            )
            begun.append(identity)
            self.some_operation(chance, identity, ("qbury", "qkick"))

        def merge(n):
            time.sleep(chance.random() * 0.02)
            self.send(chance, f"{name}.merge{n}", after=(name,), refused=(66,), dies=0.1)

        self.together(*[lambda n=n: member(n) for n in range(3)], *[lambda n=n: merge(n) for n in range(2)])
        self.send(chance, f"{name}.late", after=(name,), refused=() if any(begun) else (66,))

    def round_of_after(self, name, chance):
        deletes = chance.random() < 0.25
        verbs, within = (("qdel",), 0.1) if deletes else (("qbury", "qkick"), 0.01)
        refused = (66,) if deletes else ()
        first = []
        for n in range(chance.randint(1, 3)):
            arguments = chance.choice(([], ["-d", "200ms" if deletes else "3ms"], ["-p", "3"]))
            first.append(self.send(chance, f"{name}.first{n}", *arguments, plan=self.plan(chance)))
        chance.shuffle(first)

        def dependent(n):
            key = f"{name}.{n}" if chance.random() < 0.3 else None
            plan = self.plan(chance)
            identity = self.send(
                chance, f"{name}.second{n}", after=tuple(first), key=key, plan=plan, refused=refused, dies=0.1
            )
            if identity:
                self.send(chance, f"{name}.third{n}", after=(identity,), refused=refused)

        self.together(
            *[lambda n=n: dependent(n) for n in range(2)],
            *[lambda i=i: self.some_operation(chance, i, verbs, within) for i in first],
        )

    def round(self, number):
        chance = random.Random(f"{self.options.seed}.{number}")
        kind = chance.choice((self.round_of_key, self.round_of_batch, self.round_of_after))
        kind(f"{kind.__name__.rpartition('_')[2]}{number}", chance)

    # --- qworks ---

    def start_qwork(self, queue):
        more = ["-A", str(ATTEMPTS), "-b", "1ms..10ms", "-j", "4", "--scan", "1s", "-q", queue]
        more += ["--", self.options.handler]
        with open(self.path("qwork.log"), "ab") as log:
            return self.start("qwork", *more, stdout=log, stderr=log)

    def nemesis(self):
        qworks = {n: self.start_qwork(QUEUES[n % 2]) for n in range(3)}
        while not self.calm.wait(self.random.random() * 0.5):
            n = self.random.randrange(len(qworks))
            qworks[n].kill()
            qworks[n].wait()
            qworks[n] = self.start_qwork(QUEUES[n % 2])
        for qwork in qworks.values():
            qwork.terminate()
        for qwork in qworks.values():
            qwork.wait(DEADLINE)

    def left(self):
        """All files of the spool, but the statistics, and what a batch that is complete and a deletion leave for a week."""
        left = []
        for directory, _, files in os.walk(self.spool):
            left += [os.path.relpath(os.path.join(directory, name), self.spool) for name in files]
        stay = ("stats", "name", "finished", ".deleted")
        return [name for name in left if os.path.basename(name) not in stay]

    def finish_queue(self, queue, environment):
        tool = os.path.join(self.options.tools, "qkick")
        subprocess.run(
            [tool, "-s", self.spool, "-q", queue, "--all"], stderr=subprocess.DEVNULL, check=False
        )
        tool = os.path.join(self.options.tools, "qwork")
        command = [tool, "-s", self.spool, "-q", queue, "--drain", "-j", "4", "-b", "1ms..1ms"]
        command += ["--", self.options.handler]
        null = subprocess.DEVNULL
        with open(self.path("qwork.log"), "ab") as log:
            done = subprocess.run(
                command, env=environment, stderr=log, stdin=null, timeout=DEADLINE, check=False
            )
        if done.returncode != 0:
            self.wrong(f"the last qwork of {queue} exits {done.returncode}")

    def finish(self):
        """Everything succeeds now, and what a crash left is old."""
        open(self.path("calm"), "wb").close()
        with open(self.path("clock"), "w", encoding="ascii") as clock:
            clock.write(str(LATER_MS))
        environment = self.environment(pause=None)
        environment.update(LD_PRELOAD=self.options.clock, FAKE_CLOCK=self.path("clock"))
        environment["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        for _ in range(TRIES_AT_END):
            for queue in QUEUES:
                self.finish_queue(queue, environment)
            if not self.left():
                return
        self.wrong(f"left in the end: {sorted(self.left())[:20]}")

    def execute(self, rounds):
        nemesis = threading.Thread(target=self.nemesis)
        nemesis.start()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(self.round, number) for number in rounds]:
                done.result()
        self.calm.set()
        self.calm_ns = time.monotonic_ns()
        nemesis.join()
        self.finish()
        self.judge()
        if not self.broken:
            shutil.rmtree(self.directory)
        return self.broken

    # --- judging ---

    def read_history(self):
        """In the order in which it happened: (what, token, id, ns)."""
        with open(self.path("history"), encoding="ascii") as file:
            for line in file:
                what, token, identity, at = line.split()
                yield what, token, identity, int(at)

    def judge(self):
        self.history = list(self.read_history())
        self.by_token = {sent.token: sent for sent in self.sent}
        self.ids = {sent.id for sent in self.sent}
        self.token_of = {identity: token for _, token, identity, _ in self.history}
        # When it began to be: who was sent before may never run, who was sent later may.
        self.deleted = {i: begin for verb, i, begin, status in self.operated if verb == "qdel" and status == 0}
        self.free_runs = {i for verb, i, _, _ in self.operated if verb == "qkick"}
        self.first = {}  # (what, id) -> position in the history
        for position, (what, _, identity, _) in enumerate(self.history):
            self.first.setdefault((what, identity), position)
            if what == "overlap":
                self.wrong(f"{identity} ran beside another one of its key")
        for sent in self.sent:
            self.judge_fate(sent)
            if sent.token in self.token_of.values():
                self.judge_order(sent)
        self.judge_keys()

    def judge_fate(self, sent):
        if sent.id and ("ok", sent.id) not in self.first and sent.id not in self.deleted:
            self.wrong(f"{sent.token}: {sent.id} was lost")

    def waits_for(self, sent):
        """The ids that SENT may not run before."""
        for name in sent.after:
            members = [other for other in self.sent if other.batch == name and other.id]
            yield from (other.id for other in members)
            if not members and name in self.ids:
                yield name

    def judge_order(self, sent):
        identity = next(i for i, token in self.token_of.items() if token == sent.token)
        start = self.first.get(("start", identity))
        if start is None or identity in self.free_runs or self.calm_at(start):
            return
        for other in self.waits_for(sent):
            end = self.first.get(("ok", other))
            if (end is None or end > start) and self.deleted.get(other, sent.end) >= sent.end:
                self.wrong(f"{sent.token}: {identity} started, and {other} had not finished")

    def calm_at(self, position):
        """In the end all that is buried is kicked, dependents of what was deleted among them."""
        return self.history[position][3] > self.calm_ns

    def free_since(self, sent, identity):
        """When the key of a job may have been free at the earliest: it succeeded, or was set aside."""
        ends = [(what, at) for what, _, other, at in self.history if other == identity]
        times = [at for what, at in ends if what == "ok" or (what == "failed" and sent.plan == "bad")]
        times += [at for what, at in ends if what == "failed"][ATTEMPTS - 1 :]
        times += [begin for verb, i, begin, _ in self.operated if i == identity and verb != "qkick"]
        return min(times, default=1 << 63)

    def judge_holders(self, several):
        for sent, identity in several:
            free = self.free_since(sent, identity)
            for other, other_id in several:
                held_then = sent.id == identity and sent.end < other.begin and other.end < free
                if identity != other_id and held_then:
                    self.wrong(f"{other_id} was sent while {identity} held their key")

    def judge_keys(self):
        holders = collections.defaultdict(list)
        for identity, token in self.token_of.items():
            sent = self.by_token[token]
            if sent.key:
                holders[sent.key].append((sent, identity))
        for several in holders.values():
            self.judge_holders(several)


def parse():
    tools = os.environ.get("QSPOOL_BIN", os.path.join(HERE, "../../bin"))
    parser = argparse.ArgumentParser(description="Keys, batches and dependencies in any order of events.")
    parser.add_argument("--rounds", type=int, default=10000)
    parser.add_argument("--seed", default=str(random.randrange(1 << 32)))
    parser.add_argument("--tools", default=tools)
    parser.add_argument("--hooked", help="beside them, in ../test/crash/tools")
    parser.add_argument("--handler", help="beside them, ../test/crash/order_handler")
    options = parser.parse_args()
    options.hooked = options.hooked or os.path.join(options.tools, "../test/crash/tools")
    options.handler = os.path.abspath(options.handler or os.path.join(options.tools, "../test/crash/order_handler"))
    options.directory = os.environ.get("TMPDIR", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    return options


def main():
    options = parse()
    begin = time.monotonic()
    place = tempfile.mkdtemp(prefix="interleave.", dir=options.directory)
    options.directory = place
    options.clock = os.path.join(place, "clock.so")
    source = os.path.join(HERE, "../cli/clock.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", options.clock, source], check=True)
    broken = []
    for first in range(0, options.rounds, EPOCH):
        epoch = Epoch(options, first // EPOCH)
        broken += epoch.execute(range(first, min(first + EPOCH, options.rounds)))
        if broken:
            break
    for promise in broken:
        print(f"BROKEN: {promise}")
    print(
        f"interleave: {options.rounds} rounds, seed {options.seed}, {len(broken)} broken promises,"
        f" {time.monotonic() - begin:.0f} s"
    )
    if broken:
        print(f"what is left: {place}")
    else:
        shutil.rmtree(place)
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
