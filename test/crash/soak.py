#!/usr/bin/env python3
"""Soak: many senders, workers and operators on one spool, and a nemesis that kills them.

    soak.py [--duration SECONDS] [--seed N] [--plant FAULT[,FAULT]...] [--keep]

The tools are those in $QSPOOL_BIN, the handler is $SOAK_HANDLER; `make soak` sets both.

 * Senders call qsend: one job or many, with and without options, --no-sync, delayed, with
   priorities; and they rename files of their own into new/.
 * Others send families of jobs, with keys, in batches, after one another: soak_order.py.
 * Workers are qworks, several a queue. Their handler is soak_handler.c, which stays with some of them; each payload says
   what it is to do: succeed, fail, ask for burial, hang, turn deaf, crash, leave a
   daemon, defer its job, trip a breaker.
 * Operators call qbury, qkick and qdel, move and remove files by hand as spool-layout.md
   allows, and pause queues. Watchers call qstat, qcat and qfsck.
 * The nemesis stops and kills any of them. Workers are started again.

When the time is over everybody is let go on, the workers run what is left, and what they
buried is kicked and run by a handler that always succeeds. All that happened is in two
histories, of this program and of the handlers, and soak_judge.py tells from these, from
the logs of the qworks and from the spool whether each job is accounted for. What happens
follows from the seed, except for who is quicker: a run cannot be repeated exactly.

--plant does what qspool must never do, to see that it would be found: see class Plants.
Exit status: 0 if nothing is wrong, 1 otherwise; then the directory with all of it is kept.
"""
import argparse
import asyncio
import collections
import contextlib
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib

import soak_judge
import soak_order
from soak_order import listing

# In the first two some qworks live from beginning to end. Files are dropped into FOREIGN
# queues, so there only jobs whose ids are known may be deleted; see Operators.delete_oldest.
QUEUES = ("mail", "thumbs", "pay", "scan")
STEADY = QUEUES[:2]
FOREIGN = ("thumbs", "pay")
DELETE_OLDEST = ("mail", "scan")
PLANT_QUEUE = "plant"
FRESH_QUEUE = "fresh"

BACKLOG_MAX = 400  # of a queue: senders wait beyond it
ATTEMPTS = 4
HAND_PRIORITY = 7  # what operators rename jobs to; soak_handler.c knows it
SANITIZED = bool(os.environ.get("QSPOOL_SANITIZED"))
PATIENCE = 120 if not SANITIZED else 300  # seconds for what must come to an end

NAME = re.compile(r"(?:\d{8}T\d{6}\.\d{3}Z\.)?(\d\d)\.([0-9a-z]{20})\.(\d+)((?:,.*)?)$")


def id_of(name):
    """The id in the name of a job; None for a foreign name."""
    match = NAME.match(name)
    return match and match[2]


def become_subreaper():
    """Handlers and daemons whose parents die become our children: none gets away."""
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def stat_fields(pid):
    """(state, parent) of a process; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1])


def watches(pid):
    """Whether a qwork watches its queue. Before, TERM and HUP end it as any program."""
    for fd in listing(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:inotify":
                return True
        except OSError:
            pass
    return False


class Process:
    """A child of ours. Its number stays its own until reap() has waited for it."""

    def __init__(self, pid, role):
        self.pid = pid
        self.role = role
        self.killed = self.told = False  # by us
        self.ended = asyncio.get_running_loop().create_future()  # the status of wait(2)

    @property
    def alive(self):
        return not self.ended.done()


class Processes:
    """Starts, signals and reaps; counts what the signals hit."""

    def __init__(self, history, count, environment):
        self.history = history
        self.count = count
        self.environment = environment
        self.running = {}
        self.stopped = 0
        self.null = os.open(os.devnull, os.O_RDWR)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)

    def start(self, role, argv, stdin=None, stdout=None, stderr=None):
        fds = [self.null if fd is None else fd for fd in (stdin, stdout, stderr)]
        actions = [(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate(fds)]
        pid = os.posix_spawn(argv[0], argv, self.environment, file_actions=actions,
                             setpgroup=0, setsigdef=[signal.SIGPIPE])
        process = self.running[pid] = Process(pid, role)
        return process

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self.running.pop(pid, None)
            if process:
                self.note_kill(process, status)
                process.ended.set_result(status)

    def note_kill(self, process, status):
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self.count[f"kills of {process.role}s"] += 1
            if not process.killed:
                self.history.put("alarm", "status", f"somebody else killed {process.role} "
                                                    f"{process.pid}")

    def signal(self, process, number):
        if process.alive:
            self.history.put("signal", number.name, process.role, process.pid)
            os.kill(process.pid, number)
            process.killed |= number == signal.SIGKILL
            process.told |= number == signal.SIGTERM

    def stop(self, process, seconds):
        if process.alive:
            self.signal(process, signal.SIGSTOP)
            self.count["stops"] += 1
            self.go_on_later(seconds, lambda: self.signal(process, signal.SIGCONT))

    def go_on_later(self, seconds, go_on):
        def cont():
            self.stopped -= 1
            go_on()

        self.stopped += 1
        asyncio.get_running_loop().call_later(seconds, cont)

    def signal_handler(self, worker, pid, number, seconds=0):
        """A handler is another's child, and its number may be reused at any time: a pidfd
        is the process that it was when we looked."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return
        try:
            if stat_fields(pid) not in [(state, worker.pid) for state in "RSDT"]:
                return
            self.history.put("signal", number.name, "handler", pid)
            signal.pidfd_send_signal(fd, number)
            self.count["kills of handlers" if number == signal.SIGKILL else "stops"] += 1
            if number == signal.SIGSTOP:
                kept = os.dup(fd)
                self.go_on_later(seconds, lambda: self.let_go_on(kept))
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)

    @staticmethod
    def let_go_on(fd):
        try:
            signal.pidfd_send_signal(fd, signal.SIGCONT)
        except ProcessLookupError:
            pass
        os.close(fd)

    async def end_all(self):
        """By pid, until no child is left; what they leave behind becomes our child."""
        while children(os.getpid()):
            for pid in children(os.getpid()):
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
            self.reap()


class Soak:
    """The world that all share, and the course of the run."""

    def __init__(self, options, directory):
        self.options = options
        self.random = random.Random(options.seed)
        self.directory = directory
        self.spool = os.path.join(directory, "spool")
        self.bin = os.environ["QSPOOL_BIN"]
        self.handler = os.environ["SOAK_HANDLER"]
        self.history = soak_judge.History(os.path.join(directory, "history"))
        self.count = collections.Counter()
        self.over = asyncio.Event()  # time is: nobody begins anything more
        self.calls = 0
        self.queue_of = {}  # of each acknowledged id
        self.recent = {queue: collections.deque(maxlen=400) for queue in QUEUES}
        self.fsck = self.has_tool("qfsck")
        for name in ("running", "said"):  # see soak_handler.c
            os.mkdir(os.path.join(directory, name))
        self.processes = Processes(self.history, self.count, self.environment())
        self.workers = Workers(self)
        self.began = time.monotonic()
        self.queues = QUEUES
        self.ordering = self.known_options()

    def has_tool(self, name):
        return os.path.exists(os.path.join(self.bin, name))

    def known_options(self):
        """Of those that order jobs: what this qsend has."""
        text = subprocess.run([os.path.join(self.bin, "qsend"), "--help"], check=True,
                              capture_output=True, encoding="utf-8").stdout
        return {word for word, option in soak_order.OPTIONS.items()
                if option.partition("=")[0] in text}

    def environment(self):
        more = {"QSPOOL": self.spool, "SOAK": self.directory, "SOAK_ATTEMPTS": str(ATTEMPTS)}
        if SANITIZED:  # the leak checker cannot work in what is stopped
            more["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        return {**os.environ, **more}

    def path(self, *parts):
        return os.path.join(self.spool, *parts)

    def backlog(self, queue):
        return sum(len(listing(self.path(queue, state))) for state in ("new", "delay", "cur"))

    def is_full(self, queue, times=1):
        return self.backlog(queue) > times * BACKLOG_MAX

    def seconds_left(self):
        return self.began + self.options.duration - time.monotonic()

    def all_queues(self):
        return soak_judge.queues(self.spool)

    def files(self, queue, state):
        """Paths of its jobs in that state."""
        if state == "waiting":
            return soak_order.waiting_of(self.spool, queue)
        return [self.path(queue, state, name) for name in listing(self.path(queue, state))]

    def next_call(self):
        self.calls += 1
        return self.calls

    def alarm(self, kind, words):
        self.history.put("alarm", kind, words)

    async def sleep(self, mean):
        """For a random time, or until all is over."""
        try:
            await asyncio.wait_for(self.over.wait(), self.random.expovariate(1 / mean))
        except asyncio.TimeoutError:
            pass

    async def run_tool(self, role, argv, stdin=None, doom=0.0, stop=0.0, feed=None):
        """Runs a tool to its end. DOOM and STOP are the chances that it is killed or
        stopped on the way. Returns (status of wait(2), its output, its errors)."""
        out, errors = os.memfd_create("out"), os.memfd_create("errors")
        process = self.processes.start(
            role, [os.path.join(self.bin, argv[0]), *argv[1:]], stdin, out, errors)
        if self.random.random() < doom:
            soon = self.random.choice((0.03, 0.3))
            self.later(soon, lambda: self.processes.signal(process, signal.SIGKILL))
        elif self.random.random() < stop:
            seconds = self.random.uniform(0.1, 2)
            self.later(0.02, lambda: self.processes.stop(process, seconds))
        if feed:
            await feed()
        done, _ = await asyncio.wait([process.ended], timeout=PATIENCE)
        if not done:
            self.alarm("hung", f"{' '.join(argv)[:200]} (pid {process.pid})")
            self.processes.signal(process, signal.SIGKILL)
            await process.ended
        texts = []
        for fd in (out, errors):
            with os.fdopen(fd, "rb") as file:
                file.seek(0)
                texts.append(file.read())
        return process.ended.result(), texts[0], texts[1].decode(errors="replace")

    def later(self, within, action):
        asyncio.get_running_loop().call_later(self.random.uniform(0, within), action)

    def check_exit(self, argv, status, errors, allowed):
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and not (os.WIFEXITED(status) and os.WEXITSTATUS(status) in allowed):
            self.alarm("status", f"{' '.join(argv)[:200]}: {soak_judge.status_text(status)}: "
                                 f"{errors[-1000:]!r}")
        return killed

    async def wait_until(self, what, condition, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                self.alarm("hung", f"waited in vain until {what}")
                return False
            await asyncio.sleep(0.05)
        return True

    async def run(self):
        senders, operators = Senders(self), Operators(self)
        limiting = soak_order.Limiting(self)
        await limiting.begin()
        families = soak_order.Ordering(self, senders)
        plants = Plants(self, senders)
        nemesis = asyncio.create_task(Nemesis(self).act())
        progress = asyncio.create_task(self.show_progress())
        self.workers.start_steady()
        workers = [asyncio.create_task(self.workers.serve(queue)) for queue in QUEUES * 2]
        roles = [senders.drop_files(), senders.send_files(), operators.pause()]
        roles += [senders.send() for _ in range(6)]
        roles += [families.send() for _ in range(6)]
        roles += [families.wait(), limiting.operate()]
        roles += [families.send_and_wait() for _ in range(6)]
        roles += [operators.operate() for _ in range(4)]
        roles += [operators.watch() for _ in range(2)]
        roles += [plants.plant(fault) for fault in self.options.plant]
        roles = [asyncio.create_task(role) for role in roles]
        done, _ = await asyncio.wait([*roles, *workers, nemesis], timeout=self.options.duration,
                                     return_when=asyncio.FIRST_EXCEPTION)
        self.over.set()
        await asyncio.gather(*done, *roles, nemesis)
        await self.settle(workers, soak_order.Rest(self, senders), plants)
        progress.cancel()
        if sys.stderr.isatty():
            sys.stderr.write("\n")

    async def settle(self, workers, rest, plants):
        """Everybody goes on; then all that is left is run, twice over."""
        await self.wait_until("nobody is stopped", lambda: self.processes.stopped == 0)
        await soak_order.Limiting(self).let_all_go()
        await rest.come_to_rest(20 if self.options.plant else 2 * PATIENCE, self.queues[:1])
        await self.wait_until("the queues are empty", self.queues_are_empty, PATIENCE)
        await self.workers.measure(rest)
        await self.workers.end(workers)
        await self.wait_until("no process is left", lambda: not children(os.getpid()), 30)
        await self.check_sound()
        self.history.put("calm")
        soak_judge.note_buried(self.history, self.spool)
        rest.note_waiting(soak_judge.token_of)
        plants.relent()
        await self.run_buried(rest)
        await rest.ask_for_keys()
        await self.run_buried(rest)
        await self.wait_until("no process is left", lambda: not children(os.getpid()), 30)
        await self.check_sound()
        soak_judge.note_left(self.history, self.spool)
        soak_judge.note_statistics(self.history, self.spool)
        rest.note_left()
        rest.note_kept()

    def queues_are_empty(self):
        return not any(self.backlog(queue) for queue in self.all_queues())

    def at_end(self):
        """How many have still to be run."""
        states = ("new", "delay", "cur", "buried", "waiting")
        return sum(len(self.files(queue, state)) for queue in self.all_queues()
                   for state in states)

    async def run_buried(self, rest):
        """By a handler that succeeds: all that is buried must be whole. Of a key one gets through
        at a time. What waits comes after what it waits for, but for what has the key of that."""
        with open(os.path.join(self.directory, "calm"), "w", encoding="ascii"):
            pass
        for verb in (["qkick"], ["qkick", "--delayed"]):
            before = None
            while self.at_end() != before:
                before = self.at_end()
                await asyncio.gather(*[self.run_again(queue, verb) for queue in self.all_queues()])
            # What lacks a resource does not keep a drain from ending, and a daemon may have it for a while.
            await rest.come_to_rest(PATIENCE, self.all_queues())

    async def run_again(self, queue, verb):
        operators = Operators(self)
        await operators.act("kick", queue, [*verb, "-n", "20"], [])
        operators.by_hand("ready", queue, "new", self.files(queue, "buried"))
        await self.workers.drain(queue)

    async def check_sound(self):
        if self.fsck:
            argv = ["qfsck", "-v"]
            status, out, errors = await self.run_tool("watcher", argv)
            found = (out.decode(errors="replace") + errors)[-2000:]
            self.check_exit(argv, status, found, {0})

    async def show_progress(self):
        if not sys.stderr.isatty():
            return
        while True:
            kills = sum(n for what, n in self.count.items() if what.startswith("kills"))
            backlog = sum(self.backlog(queue) for queue in QUEUES)
            state = "over: settling" if self.over.is_set() else f"of {self.options.duration:.0f} s"
            sys.stderr.write(f"\r{time.monotonic() - self.began:5.0f} s {state}: "
                             f"{len(self.queue_of)} jobs, {backlog} wait, {kills} kills \033[K")
            await asyncio.sleep(0.5)


class Senders:
    # What handlers are told to do, and how often of 1000 times; the rest succeeds.
    PLANS = (("fail:1", 40), ("fail:2", 10), ("fail:99", 4), ("bury", 4), ("noise:1", 5),
             ("crash:1", 5), ("hang:1", 2), ("deaf:1", 0.3), ("daemon:300", 4), ("slow:50", 60),
             ("slow:1000", 3), ("defer:200", 10))

    def __init__(self, soak):
        self.soak = soak
        self.random = soak.random
        words, weights = zip(*self.PLANS)
        self.plans = ("ok", *words)
        self.weights = (1000 - sum(weights), *weights)

    def payload(self, token, queue, plan, size, priority=50, attempts=0, options="-"):
        body = "%x" % self.random.getrandbits(4 * max(size, 1))
        text = f"soak {token} {queue} {priority} {attempts} {options} {plan} {body}".encode()
        return b"%s %08x" % (text, zlib.crc32(text))

    async def send(self):
        """One sender: calls of every kind, one after the other."""
        while not self.soak.over.is_set():
            queue = self.random.choice(QUEUES)
            if self.soak.is_full(queue):
                await self.soak.sleep(0.05)
                continue
            await self.send_some(queue)
            await self.soak.sleep(0.02)

    def call_options(self, call):
        """Options of qsend, and what the payload says of them."""
        argv, told, delay = [], {}, 0
        chance = self.random.random
        if chance() < 0.15:
            argv.append("--no-sync")
        if chance() < 0.15:
            delay = self.random.randrange(1, 1500)
            argv.append(f"--delay={delay}ms")
        if chance() < 0.2:
            told["priority"] = self.random.randrange(100)
            argv.append(f"--priority={told['priority']}")
        if chance() < 0.2:
            told["attempts"] = self.random.randrange(1, 6)
            argv.append(f"--attempts={told['attempts']}")
        if chance() < 0.25:
            told["options"] = "m"
            argv += [f"--header=Soak: {call}", f"--env=SOAK_CALL={call}", "--", str(call)]
        return argv, told, delay

    async def send_some(self, queue):
        call = self.soak.next_call()
        options, told, delay = self.call_options(call)
        single = self.random.random() < 0.3
        number = 1 if single else int(2 ** self.random.uniform(0, 8))
        size = int(2 ** self.random.uniform(0, 16 if single else 8))
        plans = self.random.choices(self.plans, self.weights, k=number)
        jobs = [self.payload(f"{call}.{i}", queue, plan, size, **told)
                for i, plan in enumerate(plans)]
        null = self.random.random() < 0.2
        how = [] if single else ["--null"] if null else ["--lines"]
        end = b"" if single else b"\0" if null else b"\n"
        await self.call_qsend(queue, call, [*how, *options], [job + end for job in jobs], delay,
                              doom=0.06, stop=0.02)

    async def call_qsend(self, queue, call, options, jobs, delay=0, doom=0.0, stop=0.0, order=(),
                         told=None):
        """ORDER and TOLD are of soak_order.py. The ids of what was sent."""
        argv = ["qsend", "-q", queue, *soak_order.arguments(order), *options]
        self.soak.history.put("offer", call, queue, len(jobs), delay * 1_000_000,
                              *soak_order.words(told or order))
        slow = len(jobs) > 1 and self.random.random() < 0.1
        stdin, feed = self.feed_slowly(jobs) if slow else (self.in_memory(jobs), None)
        try:
            status, out, errors = await self.soak.run_tool(
                "sender", argv, stdin, doom, stop, feed)
        finally:
            os.close(stdin)
        ids = out.decode().split("\n")[:-1]  # an unfinished line acknowledges nothing
        refused, statuses = soak_order.refusal(errors)
        waits = ("wait", "") in order
        if waits:
            ids, statuses = soak_order.WAITED_FOR.findall(errors), soak_order.RESULTS
        if refused:
            self.soak.history.put("refused", call, refused, *ids * (refused == "held"))
            self.soak.count[f"refused: {refused}"] += 1
        if refused == "held":
            ids = []
        self.acknowledge(queue, call, ids)
        killed = self.soak.check_exit(argv, status, errors, statuses)
        self.soak.history.put("sent", call, "killed" if killed else "ended")
        if waits and ids and not killed:
            self.soak.history.put("result", *ids, os.waitstatus_to_exitcode(status),
                                  *out.decode().split())
        if not killed and not refused and len(ids) != len(jobs):
            self.soak.alarm("status", f"{argv} printed {len(ids)} ids for {len(jobs)} jobs")
        return ids

    def acknowledge(self, queue, call, ids):
        for i, job_id in enumerate(ids):
            self.soak.history.put("ack", call, i, job_id)
            self.soak.queue_of[job_id] = queue
            if queue in self.soak.recent:
                self.soak.recent[queue].append(job_id)

    @staticmethod
    def in_memory(jobs):
        fd = os.memfd_create("jobs")
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(b"".join(jobs))
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def feed_slowly(self, jobs):
        """A pipe, and what writes the jobs into it in two portions."""
        reader, writer = os.pipe()
        text = b"".join(jobs)
        cut = self.random.randrange(len(text))

        async def feed():
            try:
                await asyncio.to_thread(os.write, writer, text[:cut])
                await asyncio.sleep(self.random.uniform(0, 0.1))
                await asyncio.to_thread(os.write, writer, text[cut:])
            except BrokenPipeError:
                pass  # qsend was killed
            finally:
                os.close(writer)

        return reader, feed

    def write_file(self, queue, call, where, plan="ok"):
        name = f"drop.{call}.0"
        job = self.payload(f"{call}.0", queue, plan, 50, options="f")
        with open(self.soak.path(queue, where, name), "xb", buffering=0) as file:
            file.write(job)
        return name

    async def drop_files(self):
        """Whole files, renamed into new/: jobs at once."""
        while not self.soak.over.is_set():
            queue = self.random.choice(FOREIGN)
            if os.path.isdir(self.soak.path(queue)):
                call = self.soak.next_call()
                plan = self.random.choices(self.plans, self.weights)[0]
                name = self.write_file(queue, call, "tmp", plan)
                self.soak.history.put("offer", call, queue, 1, 0)
                os.rename(self.soak.path(queue, "tmp", name), self.soak.path(queue, "new", name))
                self.soak.history.put("ack", call, 0, name)
                self.soak.history.put("sent", call, "ended")
            await self.soak.sleep(0.1)

    async def send_files(self):
        """Files written in new/ itself: jobs two seconds later."""
        while not self.soak.over.is_set():
            queue = self.random.choice(FOREIGN)
            if os.path.isdir(self.soak.path(queue)):
                call = self.soak.next_call()
                self.soak.history.put("offer", call, queue, 1, 0)
                name = self.write_file(queue, call, "new")
                self.soak.history.put("ack", call, 0, name)
                self.soak.history.put("sent", call, "ended")
            await self.soak.sleep(2)


class Workers:
    """Each worker is a row of qworks: when one ends, the next is started."""

    BACKOFF, TIMEOUT, GRACE = "10ms..300ms", "2s", "500ms"

    def __init__(self, soak):
        self.soak = soak
        self.running = []  # the nemesis kills and stops these,
        self.steady = {}  # only stops these, by queue,
        self.apart = {}  # and leaves these alone
        self.closing = False

    def start(self, queue, *more, role="worker"):
        argv = [os.path.join(self.soak.bin, "qwork"), "-q", queue, "-A", str(ATTEMPTS),
                "-b", self.BACKOFF, "-t", self.TIMEOUT, "-g", self.GRACE, "--scan", "1s",
                *more, "--", self.soak.handler, *["--loop"] * ("--persist" in more)]
        log = os.open(os.path.join(self.soak.directory, f"qwork.{queue}"),
                      os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        process = self.soak.processes.start(role, argv, stderr=log)
        os.close(log)
        self.soak.history.put("worker", queue, process.pid, *more)
        self.soak.count["qworks started"] += 1
        return process

    async def wait_for(self, process, queue, patience=None):
        done, _ = await asyncio.wait([process.ended], timeout=patience)
        if not done:
            self.soak.alarm("hung", f"qwork {process.pid} of {queue} does not end")
            self.soak.processes.signal(process, signal.SIGKILL)
            await process.ended
        status = process.ended.result()
        if process.told and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM:
            return  # it was about to exit, and had given up its own way with signals
        self.soak.check_exit(["qwork", "-q", queue], status, f"pid {process.pid}", {0})

    def start_steady(self):
        for queue in STEADY:
            self.steady[queue] = self.start(queue, "-j", "3", role="steady worker")
        if self.soak.options.plant:
            self.apart[PLANT_QUEUE] = self.start(PLANT_QUEUE, "-j", "9", "-t", "20s",
                                                 role="steady worker")

    async def serve(self, queue):
        choose = self.soak.random.choice
        while not self.closing:
            mode = choose(((), (), (), (), ("--drain",), ("--once",)))
            if self.soak.over.is_set():
                mode = ()  # somebody must run what is left
            stays = choose(((), (), ("--persist",), ("--persist", "--max-jobs", "20")))
            process = self.start(queue, "-j", choose("12346"), *mode, *stays)
            self.running.append(process)
            await self.wait_for(process, queue)
            self.running.remove(process)
            await self.soak.sleep(0.1)

    @staticmethod
    def descriptors(process):
        return len(listing(f"/proc/{process.pid}/fd"))

    @staticmethod
    def memory(process):
        with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1])

    async def measure(self, rest):
        """A qwork that has worked all the time has no more descriptors than one that has run a
        job of each kind."""
        old = self.steady.values()
        fresh = self.apart[FRESH_QUEUE] = self.start(FRESH_QUEUE, "-j", "3", role="steady worker")
        await rest.send_each_kind(FRESH_QUEUE)
        await self.soak.wait_until(
            "old qworks have no more descriptors than a new one",
            lambda: all(0 < self.descriptors(p) <= self.descriptors(fresh) for p in old), 20)
        self.soak.history.put("descriptors", self.descriptors(fresh),
                              *(self.descriptors(p) for p in old))
        self.soak.history.put("memory", *(self.memory(p) for p in old if p.alive))

    async def end(self, servers):
        """Tells all to end; they must."""
        self.closing = True
        told = [*self.running, *self.apart.values(), *self.steady.values()]
        await self.soak.wait_until("all qworks are ready",
                                   lambda: all(watches(p.pid) for p in told if p.alive))
        for process in told:
            self.soak.processes.signal(process, signal.SIGTERM)
        await self.soak.wait_until("all qworks have ended",
                                   lambda: not any(process.alive for process in told))
        for process in told:
            self.soak.processes.signal(process, signal.SIGKILL)  # which did not
        await asyncio.gather(*servers)
        for process in [*self.apart.values(), *self.steady.values()]:
            await self.wait_for(process, "its own")

    async def drain(self, queue):
        await self.wait_for(self.start(queue, "-j", "4", "--drain"), queue, 2 * PATIENCE)


class Operators:
    def __init__(self, soak):
        self.soak = soak
        self.random = soak.random

    async def operate(self):
        actions = ((self.bury, 4), (self.bury_oldest, 1), (self.kick, 4), (self.kick_delayed, 1),
                   (self.delete, 3), (self.delete_oldest, 1), (self.move_by_hand, 4))
        actions, weights = zip(*actions)
        while not self.soak.over.is_set():
            queue = self.random.choice(QUEUES)
            await self.random.choices(actions, weights)[0](queue)
            await self.soak.sleep(0.5)

    async def act(self, verb, queue, argv, targets, doom=0.0):
        """TARGETS are ids; none if options select the jobs. Such an operator is not
        killed, so that what it reports is all that it did."""
        act = self.soak.next_call()
        self.soak.history.put("begin", act, verb, queue, "kill" if "--kill" in argv else "-",
                              *targets)
        argv = [*argv, "-v", "-q", queue, *targets]
        status, out, errors = await self.soak.run_tool("operator", argv, doom=doom, stop=0.05)
        for job_id in out.decode().split("\n")[:-1]:
            self.soak.history.put("did", act, job_id)
        killed = self.soak.check_exit(argv, status, errors, {0, 65, 66, 75})
        self.soak.history.put("end", act, "killed" if killed else "ended")
        self.soak.count[verb] += 1

    def known(self, queue, states, at_most):
        """Some ids that are in these states now, of those that were acknowledged."""
        paths = [path for state in states for path in self.soak.files(queue, state)]
        ids = [id_of(soak_order.plain(path))
               for path in self.random.sample(paths, min(len(paths), at_most))]
        return [job_id for job_id in ids if job_id in self.soak.queue_of]

    def some(self, queue, states):
        """Ids to act on: of jobs that are there, or of jobs that were just sent."""
        ids = self.known(queue, states, self.random.randrange(1, 6))
        recent = self.soak.recent[queue]
        if recent and self.random.random() < 0.5:
            ids.append(self.random.choice(recent))
        return list(dict.fromkeys(ids))

    async def on_some(self, verb, queue, argv, states):
        ids = self.some(queue, states)
        if ids:
            await self.act(verb, queue, argv, ids, doom=0.15)

    async def bury(self, queue):
        kill = self.random.random() < 0.2
        await self.on_some("bury", queue, ["qbury", *["--kill"] * kill],
                           ["cur"] if kill else ["new", "delay", "waiting"])

    async def bury_oldest(self, queue):
        everything = ["--all"] if self.random.random() < 0.05 else ["-n", "10"]
        await self.act("bury", queue, ["qbury", *everything], [])

    async def kick(self, queue):
        if self.random.random() < 0.5:
            await self.on_some("kick", queue, ["qkick"], ["buried", "waiting"])
        else:
            await self.kick_oldest(queue, 30)

    async def kick_oldest(self, queue, number):
        everything = ["--all"] if self.random.random() < 0.05 else ["-n", str(number)]
        await self.act("kick", queue, ["qkick", *everything], [])

    async def kick_delayed(self, queue):
        await self.act("kick", queue, ["qkick", "--delayed", "-n", "20"], [])

    async def delete(self, queue):
        kill = self.random.random() < 0.3
        await self.on_some("delete", queue, ["qdel", *["--kill"] * kill],
                           ["cur"] if kill else ["new", "delay", "buried", "waiting", "done"])

    async def delete_oldest(self, queue):
        """Only where each id is known: that of a dropped file is known once it has run."""
        if queue in DELETE_OLDEST:
            select = self.random.choice((["-n", "5"], ["-n", "10", "--state", "buried"],
                                         ["-n", "3", "--older-than", "10s"]))
            if self.random.random() < 0.01:
                select = ["--all"]
            await self.act("delete", queue, ["qdel", *select], [])

    async def move_by_hand(self, queue):
        verb, source, target = self.random.choice((
            ("bury", "new", "buried"), ("bury", "delay", "buried"), ("ready", "buried", "new"),
            ("ready", "delay", "new"), ("priority", "new", "new"), ("delete", "new", None),
            ("delete", "delay", None), ("delete", "buried", None), ("ready", "waiting", "new"),
            ("delete", "waiting", None)))
        paths = sorted(self.soak.files(queue, source), key=os.path.basename)
        at_first = verb in ("delete", "priority") or self.random.random() < 0.5
        paths = paths[:self.random.randrange(20)] if at_first else paths[-20:]
        self.by_hand(verb, queue, target, paths)

    def by_hand(self, verb, queue, target, paths):
        """What spool-layout.md calls safe. ENOENT: somebody else was quicker."""
        act = self.soak.next_call()
        self.soak.history.put("begin", act, verb, queue, "hand")
        for path in paths:
            name = soak_order.plain(path)
            job_id = id_of(name)
            try:
                if job_id is None and (verb != "delete" or not name.startswith("drop.")):
                    continue
                if verb != "delete":
                    new = self.prioritized(name) if verb == "priority" else name
                    os.rename(path, self.soak.path(queue, target, new))
                elif job_id is None or job_id in self.soak.queue_of:
                    os.unlink(path)
                else:
                    continue
            except FileNotFoundError:
                continue
            self.soak.history.put("did", act, job_id or name)
            self.soak.count["moved by hand"] += 1
        self.soak.history.put("end", act, "ended")

    @staticmethod
    def prioritized(name):
        _, job_id, attempts, marks = NAME.match(name).groups()
        return f"{HAND_PRIORITY:02}.{job_id}.{attempts}{marks}"

    async def pause(self):
        while not self.soak.over.is_set():
            await self.soak.sleep(5)
            queue = self.random.choice(QUEUES)
            file = self.soak.path(queue, "paused")
            if not os.path.isdir(os.path.dirname(file)):
                continue
            if self.random.random() < 0.5:
                with open(file, "w", encoding="ascii"):
                    pass
            else:
                await self.qpause("--for", "1s", queue)
            self.soak.count["pauses"] += 1
            await self.soak.sleep(self.random.choice((0.3, 1.5)))
            await self.qpause("--resume", queue)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)  # for a qpause that was killed

    async def qpause(self, *arguments):
        """75: a qwork that is stopped holds the lock, or qpause itself was for too long."""
        argv = ["qpause", *arguments]
        status, _, errors = await self.soak.run_tool("operator", argv, doom=0.1, stop=0.1)
        self.soak.check_exit(argv, status, errors, {0, 75})

    async def watch(self):
        """What looks must change nothing, and see whole jobs."""
        while not self.soak.over.is_set():
            await self.soak.sleep(1)
            queue = self.random.choice(QUEUES)
            ids = self.known(queue, ["new", "delay", "cur", "buried", "waiting"], 1)
            argv = self.random.choice(
                (["qstat"], ["qstat", "--json", queue], ["qstat", *ids], ["qcat", *ids[:1]],
                 ["qfsck", "-q", queue] if self.soak.fsck else ["qstat", queue]))
            if not os.path.isdir(self.soak.path(queue)) or argv == ["qcat"]:
                continue
            status, out, errors = await self.soak.run_tool("watcher", argv, doom=0.1, stop=0.02)
            found = errors + (out.decode(errors="replace") if argv[0] == "qfsck" else "")
            self.soak.check_exit(argv, status, found, {0} if argv[0] == "qfsck" else {0, 66})
            if argv[0] == "qcat" and status == 0 and not soak_judge.token_of(out):
                self.soak.alarm("garbled", f"{argv} printed {out[:200]}")


class Nemesis:
    def __init__(self, soak):
        self.soak = soak
        self.random = soak.random
        self.processes = soak.processes

    async def act(self):
        actions = ((self.kill_worker, 30), (self.kill_handler, 40), (self.stop_worker, 8),
                   (self.stop_handler, 12), (self.end_worker, 6), (self.reload_worker, 4))
        actions, weights = zip(*actions)
        while not self.soak.over.is_set():
            await self.soak.sleep(0.15)
            self.random.choices(actions, weights)[0]()

    def some_worker(self, also_steady=False):
        workers = self.soak.workers
        steady = [*workers.steady.values()]
        return self.random.choice(workers.running + steady * also_steady or steady)

    def kill_worker(self):
        worker = self.some_worker()
        if worker.role == "worker":
            self.processes.signal(worker, signal.SIGKILL)

    def stop_worker(self):
        self.processes.stop(self.some_worker(also_steady=True), self.random.uniform(0.1, 3))

    def end_worker(self):
        worker = self.some_worker()
        if worker.role == "worker" and watches(worker.pid):
            self.processes.signal(worker, signal.SIGTERM)
            self.soak.count["qworks told to end"] += 1

    def reload_worker(self):
        worker = self.some_worker(also_steady=True)
        if watches(worker.pid):
            self.processes.signal(worker, signal.SIGHUP)

    def on_handler(self, *signalling):
        for _ in range(10):
            worker = self.some_worker(also_steady=True)
            handlers = children(worker.pid)
            if handlers:
                self.processes.signal_handler(worker, self.random.choice(handlers), *signalling)
                return

    def kill_handler(self):
        self.on_handler(signal.SIGKILL)

    def stop_handler(self):
        self.on_handler(signal.SIGSTOP, self.random.uniform(0.1, 3))


class Plants(soak_order.Plants):
    """What qspool must never do, done by us without a word in the history, each to a job of
    a queue that nobody else touches. soak_judge.py must find all of it."""

    QUEUE = PLANT_QUEUE
    FAULTS = ("remove", "forget", "copy", "lie", "garble", "budget", "early",
              *soak_order.Plants.FAULTS)

    def __init__(self, soak, senders):
        self.soak = soak
        self.senders = senders

    async def plant(self, fault):
        await self.soak.wait_until("the plant queue is there",
                                   lambda: os.path.isdir(self.soak.path(PLANT_QUEUE, "new")))
        await getattr(self, fault)()

    async def send(self, plan="ok", delay=0):
        call = self.soak.next_call()
        job = self.senders.payload(f"{call}.0", PLANT_QUEUE, plan, 50)
        how = [f"--delay={delay}ms"] if delay else []
        ids = await self.senders.call_qsend(PLANT_QUEUE, call, how, [job], delay)
        return ids[0]

    async def file_of(self, job_id, state):
        """Its path, once it is there."""
        found = []

        def look():
            found[:] = [name for name in listing(self.soak.path(PLANT_QUEUE, state))
                        if id_of(name) == job_id]
            return found

        await self.soak.wait_until(f"{job_id} is in {state}", look)
        return self.soak.path(PLANT_QUEUE, state, found[0])

    async def remove(self):
        """A job disappears."""
        os.unlink(await self.file_of(await self.send(delay=5000), "delay"))

    async def forget(self):
        """A handler reports a success that it has not had."""
        await self.send("forget")

    async def copy(self):
        """A job runs twice at once."""
        job_id = await self.send("slow:1500")
        source = await self.file_of(job_id, "cur")
        part = self.soak.path(PLANT_QUEUE, "tmp", "copy")
        shutil.copyfile(source, part)
        os.rename(part, self.soak.path(PLANT_QUEUE, "new", f"50.{job_id}.1"))

    async def lie(self):
        """An operator says that a job is deleted, and it is not."""
        job_id, act = await self.send(delay=1500), self.soak.next_call()
        for words in (("begin", act, "delete", PLANT_QUEUE, "-", job_id), ("did", act, job_id),
                      ("end", act, "ended")):
            self.soak.history.put(*words)

    async def garble(self):
        """A payload changes."""
        with open(await self.file_of(await self.send(delay=5000), "delay"), "r+b") as file:
            file.seek(-12, os.SEEK_END)
            file.write(b"!")

    async def budget(self):
        """A job gets attempts that it has spent already."""
        job_id = await self.send("fail:99")
        path = await self.file_of(job_id, "buried")
        marks = NAME.match(os.path.basename(path))[4]
        os.rename(path, self.soak.path(PLANT_QUEUE, "new", f"50.{job_id}.1{marks}"))

    async def early(self):
        """A job starts before its time."""
        source = await self.file_of(await self.send(delay=10_000), "delay")
        os.rename(source, self.soak.path(PLANT_QUEUE, "new", os.path.basename(source)))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--duration", type=float, default=600, help="seconds (600)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10 ** 6))
    parser.add_argument("--plant", type=lambda text: text.split(","), default=[],
                        help=f"faults that must be found: {', '.join(Plants.FAULTS)}")
    parser.add_argument("--keep", action="store_true", help="keep the directory in any case")
    options = parser.parse_args()
    for fault in options.plant:
        if fault not in Plants.FAULTS:
            parser.error(f"no fault {fault}")
    return options


async def run_to_the_end(options, directory):
    """The run, or its end by a signal; in any case no process is left."""
    soak = Soak(options, directory)
    run = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, run.cancel)
    try:
        await soak.run()
    finally:
        for task in asyncio.all_tasks() - {run}:
            task.cancel()
        await soak.processes.end_all()
        soak.history.close()
    return soak.count


def main():
    options = parse_arguments()
    become_subreaper()
    directory = tempfile.mkdtemp(prefix="qspool-soak.")
    print(f"soak: {options.duration:.0f} s with seed {options.seed} in {directory}", flush=True)
    sound = False
    try:
        count = asyncio.run(run_to_the_end(options, directory))
        sound = soak_judge.judge(directory, count, SANITIZED)
    except asyncio.CancelledError:
        print("soak: ended by a signal")
    finally:
        if sound and not options.keep:
            shutil.rmtree(directory)
        else:
            print(f"soak: all of it is kept in {directory}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
