"""Order among jobs in the soak: keys, batches, what is sent after others, resources, and what
is kept. Who sends such jobs, who looks when all is over, and what is planted; soak_order_judge.py
tells whether spool-layout.md, "Order among jobs", was kept.

What a call of qsend asks for is its order: pairs (WORD, VALUE), of which OPTIONS makes
arguments, and which the history tells as WORD=VALUE.
"""
import asyncio
import collections
import contextlib
import os
import re

OPTIONS = {"key": "--key={}", "until": "--key-until={}", "new-only": "--new-only",
           "batch": "--batch={}", "after": "--after={}", "keep": "--keep={}",
           "resource": "--resource={}", "wait": "--wait"}
WAITED_FOR = re.compile(r"^qsend: job ([0-9a-z]{20})$", re.M)  # said by qsend --wait
RESULTS = {0, 1, 65, 69, *range(129, 193)}  # and its statuses

# What qsend says if it sends nothing, or not all: (in the history, its words, its statuses).
REFUSALS = (("held", "has the key", {0, 1}), ("sealed", "is sealed, since", {65}),
            ("unknown", "was never begun", {66}),
            ("deleted", "was deleted: nothing can run after it", {66}))

KEYS = [f"key/{n}" for n in range(12)]
RESOURCES = {"api": 2, "db/1": 1, "mail+sms": 3}  # and how many may run at once
LABELS = {"api": "api", "db/1": "db%2f1", "mail+sms": "mail+sms"}
LIMITS = {"api": ("--breaker", "1,100ms..1s"), "db/1": ("--rate", "5/s", "--burst", "2"),
          "mail+sms": ("--jobs", "3")}
RATED = ("db/1", 200_000_000, 2)  # the same: ns from token to token, and how many at once
KEPT_TO_THE_END = "1h"
DRAFT_REST = 70  # seconds after which the draft of a dead sender is no member any more
WAITING_MAX = 300  # of a queue: no more families are begun beyond it


def arguments(order):
    return [OPTIONS[word].format(value) for word, value in order]


def words(order):
    return [f"{word}={value}" for word, value in order]


def refusal(errors):
    """(why, statuses that go with it); (None, {0}) if nothing was refused."""
    for why, said, statuses in REFUSALS:
        if said in errors:
            return why, statuses
    return None, {0}


def listing(path):
    """What is there; nothing if there is no such directory (any more)."""
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def plain(path):
    """The name of a job's file without the queue that it carries below .wait/."""
    return os.path.basename(path).partition("@")[0]


def waiting(spool):
    """(what it waits for, path) of each job that waits."""
    top = os.path.join(spool, ".wait")
    for name in listing(top):
        for file in listing(os.path.join(top, name)):
            if "@" in file:
                yield name, os.path.join(top, name, file)


def waiting_of(spool, queue):
    return [path for _, path in waiting(spool) if path.endswith(f"@{queue}")]


def members(spool, label):
    """Ids of those that are not over."""
    return [file.partition("@")[0] for state in ("open", "sealed")
            for file in listing(os.path.join(spool, ".batch", label, state))]


class Ordering:
    """Senders of families: jobs and batches of any queues, of which some wait for others.

    Nothing may wait for itself: what waits has a level, which is that of its batch or the
    highest of what it waits for, and a member waits only for what is below its batch."""

    def __init__(self, soak, senders):
        self.soak = soak
        self.random = soak.random
        self.senders = senders
        self.batches = collections.deque(maxlen=6)
        self.level = {}

    async def send(self):
        while not self.soak.over.is_set():
            await self.send_family()
            await self.soak.sleep(0.1)

    async def send_family(self):
        family = []
        for _ in range(self.random.randrange(2, 8)):
            queue = self.random.choice(self.soak.queues)
            if self.soak.over.is_set() or self.soak.is_full(queue, 2) or \
                    len(self.soak.files(queue, "waiting")) > WAITING_MAX:
                return
            call = self.soak.next_call()
            order = self.choose(call, family)
            ids = await self.send_ordered(queue, call, order)
            for job_id in ids:
                self.level[job_id] = self.level_of(order)
            family += ids[-3:]

    def level_of(self, order):
        return max((self.level[value] for word, value in order if word in ("batch", "after")),
                   default=0)

    def choose(self, call, family):
        chance = self.random.random
        order, below = [], float("inf")
        if chance() < 0.35:
            batch = self.choose_batch(call)
            order.append(("batch", batch))
            below = self.level[batch]
        known = [item for item in [*family, *self.batches] if self.level[item] < below]
        if known and chance() < 0.6:
            number = min(len(known), self.random.choice((1, 1, 1, 2, 3)))
            order += [("after", item) for item in self.random.sample(known, number)]
        for choose, probability in ((self.choose_key, 0.3), (self.choose_keep, 0.15),
                                    (self.choose_resources, 0.3)):
            if chance() < probability:
                order += choose()
        return [pair for pair in order if pair[0] in self.soak.ordering]

    def choose_batch(self, call):
        if self.batches and self.random.random() < 0.6:
            return self.random.choice(self.batches)
        batch = f"batch/{call}"
        self.level[batch] = call
        self.batches.append(batch)
        return batch

    def choose_key(self):
        more = [("until", "start")] * (self.random.random() < 0.3)
        more += [("new-only", "")] * (self.random.random() < 0.3)
        return [("key", self.random.choice(KEYS)), *more]

    def choose_keep(self):
        return [("keep", self.random.choice(("1ms", "2s", KEPT_TO_THE_END)))]

    def choose_resources(self):
        names = self.random.sample(sorted(RESOURCES), self.random.choice((1, 1, 2)))
        return [("resource", f"{name}={RESOURCES[name]}") for name in names]

    async def send_ordered(self, queue, call, order):
        asked = dict(order)
        single = "key" in asked or self.random.random() < 0.4
        number = 1 if single else int(2 ** self.random.uniform(0, 5))
        options, told, delay = self.senders.call_options(call)
        plans = self.random.choices(self.senders.plans, self.senders.weights, k=number)
        if "resource" in asked and self.random.random() < 0.1:
            plans[0] = f"trip:300:{asked['resource'].partition('=')[0]}"
        told["options"] = "m" if "m" in told.get("options", "") else "-"
        jobs = [self.senders.payload(f"{call}.{i}", queue, plan, 50, **told) +
                b"\n" * (not single) for i, plan in enumerate(plans)]
        how = ["-v"] + ["--lines"] * (not single)
        doom = 0.06 if "batch" not in asked or self.soak.seconds_left() > DRAFT_REST else 0
        return await self.senders.call_qsend(queue, call, [*how, *options], jobs, delay,
                                             doom=doom, stop=0.03, order=order)

    async def send_and_wait(self):
        while "wait" in self.soak.ordering and not self.soak.over.is_set():
            queue = self.random.choice(self.soak.queues)
            if not self.soak.is_full(queue):
                call = self.soak.next_call()
                options, told, delay = self.senders.call_options(call)
                plan = self.random.choice(("ok", "fail:1", "fail:99", "bury", "crash:99"))
                job = self.senders.payload(f"{call}.0", queue, plan, 50, **told)
                await self.senders.call_qsend(queue, call, ["-v", *options], [job], delay,
                                              doom=0.06, stop=0.03, order=[("wait", "")])
            await self.soak.sleep(0.1)

    async def wait(self):
        """By qwait; a batch is sealed by that."""
        while self.soak.has_tool("qwait") and not self.soak.over.is_set():
            await self.soak.sleep(0.5)
            items = self.random.sample([*self.batches], min(len(self.batches), 1))
            items += self.random.sample(sorted(self.level), min(len(self.level), 2))
            if items:
                await self.wait_for(items)

    async def wait_for(self, items):
        act, argv = self.soak.next_call(), ["qwait", "--timeout", "2s", *items]
        self.soak.history.put("asked", act, *items)
        status, _, errors = await self.soak.run_tool("watcher", argv, doom=0.1, stop=0.05)
        if not self.soak.check_exit(argv, status, errors, {0, 1, 66, 75}):
            self.soak.history.put("waited", act, os.waitstatus_to_exitcode(status))


class Limiting:
    """Operators of resources: they open and close breakers, and lower limits for a while."""

    def __init__(self, soak):
        self.soak = soak
        self.random = soak.random

    async def begin(self):
        """Before anything is sent: each start of a job is within its limits."""
        for name in RESOURCES if self.soak.has_tool("qlimit") else ():
            await self.limit(name, *LIMITS[name])
        self.soak.history.put("rate", *RATED)

    async def operate(self):
        while self.soak.has_tool("qlimit") and not self.soak.over.is_set():
            await self.soak.sleep(2)
            name = self.random.choice(sorted(RESOURCES))
            await self.random.choice((self.break_by_tool, self.break_by_hand, self.lower))(name)

    async def break_by_tool(self, name):
        await self.limit(name, "--open", *self.random.choice(((), ("--for", "300ms"))), doom=0.1)
        await self.soak.sleep(0.5)
        await self.limit(name, "--close")

    async def break_by_hand(self, name):
        file = self.soak.path(".resource", LABELS[name], "open")
        with contextlib.suppress(FileNotFoundError):
            with open(file, "a", encoding="ascii"):
                pass
            await self.soak.sleep(0.5)
            os.unlink(file)

    async def lower(self, name):
        await self.limit(name, "--jobs", "0", doom=0.1)
        await self.soak.sleep(0.5)
        await self.limit(name, "--jobs", str(RESOURCES[name]))

    async def limit(self, name, *how, doom=0.0):
        argv = ["qlimit", *how, name]
        status, _, errors = await self.soak.run_tool("operator", argv, doom=doom, stop=0.05)
        self.soak.check_exit(argv, status, errors, {0})
        self.soak.count["limits set"] += 1

    async def let_all_go(self):
        self.soak.history.put("unrated")
        for name in RESOURCES if self.soak.has_tool("qlimit") else ():
            await self.limit(name, "--breaker", "none", "--rate", "none")

    async def close_all(self):
        """A job that always fails would keep a breaker open for ever that another one trips."""
        for name in RESOURCES if self.soak.has_tool("qlimit") else ():
            await self.limit(name, "--close")


class Rest:
    """What must be so once nothing is sent and nobody is killed any more."""

    def __init__(self, soak, senders):
        self.soak = soak
        self.senders = senders

    def is_at_rest(self):
        """Whether nothing else is to run: what waits does so for what is buried, or waits itself."""
        spool = self.soak.spool
        if not self.soak.queues_are_empty():
            return False
        wait = list(waiting(spool))
        aside = {plain(path).split(".")[-2] for _, path in wait}
        for queue in self.soak.all_queues():
            aside.update(name.split(".")[-2] for name in
                         listing(self.soak.path(queue, "buried")) if "." in name)
        return all(aside & {name, *members(spool, name)} for name in {name for name, _ in wait})

    async def come_to_rest(self, patience, queues):
        """A new qwork of QUEUES now and then, whose sweep finds what a crash or a hand left."""
        rest = asyncio.create_task(self.soak.wait_until(
            "what waits, waits for what is buried", self.is_at_rest, patience))
        while not rest.done():
            await Limiting(self.soak).close_all()
            await asyncio.gather(*[self.sweep(queue) for queue in queues])
            await asyncio.wait([rest], timeout=2)
        if not rest.result():
            await self.tell_who_waits()

    async def tell_who_waits(self):
        """Why the first of each kind does."""
        first = {}
        for name, path in waiting(self.soak.spool):
            first.setdefault(name, plain(path).split(".")[-2])
        for name, job_id in sorted(first.items()):
            _, out, errors = await self.soak.run_tool("operator", ["qstat", "--why", job_id])
            self.soak.alarm("hung", f"in .wait/{name}: {out.decode()}{errors}".strip())

    async def sweep(self, queue):
        await self.soak.workers.wait_for(self.soak.workers.start(queue, "--drain"), queue)

    async def ask_for_keys(self):
        """Nothing holds a key any more."""
        for key in KEYS if "key" in self.soak.ordering else ():
            call, queue = self.soak.next_call(), self.soak.queues[0]
            job = self.senders.payload(f"{call}.0", queue, "ok", 50)
            ids = await self.senders.call_qsend(
                queue, call, ["-v"], [job], order=[("key", key), ("new-only", "")])
            if not ids:
                self.soak.alarm("held", f"{key}, when all was over")

    async def send_each_kind(self, queue):
        """And waits until they have run."""
        ids, batch = [], f"batch/{queue}"
        for more in ([("key", queue), ("batch", batch), ("resource", f"{queue}=1")],
                     [("after", batch), ("keep", "1ms")]):
            call, order = self.soak.next_call(), [p for p in more if p[0] in self.soak.ordering]
            job = self.senders.payload(f"{call}.0", queue, "ok", 50)
            ids += await self.senders.call_qsend(queue, call, ["-v"], [job], order=order)
        await self.soak.wait_until(f"{' and '.join(ids)} have run", lambda: not any(
            self.soak.files(queue, state) for state in ("new", "cur", "waiting")))

    def note_waiting(self, token_of):
        for name, path in waiting(self.soak.spool):
            with open(path, "rb") as file:
                self.soak.history.put("waiting", name, token_of(file.read()))

    def note_left(self):
        spool = self.soak.spool
        for top in (".wait", ".key", ".batch/*/open", ".batch/*/sealed"):
            top, _, below = top.partition("/*/")
            for name in listing(os.path.join(spool, top)):
                for file in listing(os.path.join(spool, top, name, below)):
                    if file != ".deleted":  # stays for a week
                        self.soak.history.put("left", top, name, file)

    def note_kept(self):
        for queue in self.soak.all_queues():
            for name in listing(self.soak.path(queue, "done")):
                job_id = name.split(",")[0].split(".")[-2]
                with open(self.soak.path(queue, "out", job_id), encoding="utf-8") as file:
                    self.soak.history.put("kept", job_id, *file.read().split())


class Plants:
    """What qspool must never do with keys, batches and what waits; see Plants of soak.py."""

    FAULTS = ("rekey", "pair", "seize", "hasten", "strand", "orphan", "join", "crowd", "rush",
              "hurry", "mislead", "unkeep", "scribble")
    MARK = (".wait", "0" * 20, ".job")

    async def send_ordered(self, order, plan="ok", delay=0, told=None):
        """TOLD is the order that the history speaks of, if that is another one."""
        call = self.soak.next_call()
        job = self.senders.payload(f"{call}.0", self.QUEUE, plan, 50)
        how = ["-v", *[f"--delay={delay}ms"] * (delay > 0)]
        ids = await self.senders.call_qsend(self.QUEUE, call, how, [job], delay, order=order,
                                            told=told)
        return ids[0] if ids else None

    def links_of(self, job_id):
        """Below .key/ and .batch/."""
        for top in (".key", ".batch"):
            for path, _, files in os.walk(self.soak.path(top)):
                yield from (os.path.join(path, file) for file in files
                            if file.startswith(job_id))

    async def rekey(self):
        """A key is given to two jobs."""
        for _ in range(2):
            job_id = await self.send_ordered([("key", "rekey")], delay=5000)
            for link in self.links_of(job_id):
                os.unlink(link)

    async def pair(self):
        """Two jobs of a key run at once."""
        for _ in range(2):
            await self.send_ordered([], "slow:6000", told=[("key", "pair")])

    async def seize(self):
        """A key stays held by a job that was deleted."""
        job_id = await self.send_ordered([("key", "seize")], delay=60_000)
        path = await self.file_of(job_id, "delay")
        os.link(path, self.soak.path(self.QUEUE, "tmp", "a-second-link"))
        self.tell_deletion(job_id, path)
        await self.send_ordered([("key", "seize")])

    async def hasten(self):
        """A job runs before what it waits for."""
        first = await self.send_ordered([], delay=5000)
        await self.release_by_hand(first, await self.send_ordered([("after", first)]))

    async def strand(self):
        """A job still waits though what it waited for is over."""
        first = await self.send_ordered([], delay=2000)
        job_id = await self.send_ordered([("after", first)])
        path = await self.waiting_file(first, job_id)
        elsewhere, mark = self.soak.path(".wait", "0" * 20), self.soak.path(*self.MARK)
        while not os.path.exists(mark):  # a sweep removes an empty directory
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.mkdir(elsewhere)
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        os.link(mark, os.path.join(elsewhere, "a-second-link"))
        os.rename(path, os.path.join(elsewhere, os.path.basename(path)))

    def relent(self):
        """Once it was seen that it waits still: nothing would come to an end."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.soak.path(*self.MARK))

    async def orphan(self):
        """A job runs though what it waited for was deleted."""
        first = await self.send_ordered([], delay=60_000)
        job_id = await self.send_ordered([("after", first)])
        await self.waiting_file(first, job_id)
        self.tell_deletion(first, await self.file_of(first, "delay"))

    async def join(self):
        """A batch takes a member after it was sealed."""
        await self.send_ordered([("batch", "join")])
        await self.send_ordered([("after", "join")])
        await self.send_ordered([], told=[("batch", "join")])

    async def crowd(self):
        """More handlers run than a resource allows."""
        for _ in range(2):
            await self.send_ordered([], "slow:6000", told=[("resource", "crowd=1")])

    async def rush(self):
        """Jobs start sooner than a rate allows."""
        self.soak.history.put("rate", "rush", 60_000_000_000, 1)
        for _ in range(3):
            await self.send_ordered([], told=[("resource", "rush=9")])

    async def hurry(self):
        """A job runs though its handler deferred it."""
        await self.send_ordered([], "hurry:5000")

    async def mislead(self):
        """qsend --wait says that a job has finished that was deleted."""
        job_id = await self.send_ordered([], delay=60_000)
        self.tell_deletion(job_id, await self.file_of(job_id, "delay"))
        self.soak.history.put("result", job_id, 0)

    async def unkeep(self):
        """A job that was to be kept disappears."""
        os.unlink(await self.kept_file())

    async def scribble(self):
        """The output of a job that is kept is another."""
        path = await self.kept_file()
        job_id = os.path.basename(path).split(",")[0].split(".")[-2]
        with open(self.soak.path(self.QUEUE, "out", job_id), "a", encoding="ascii") as file:
            file.write("scribble\n")

    async def kept_file(self):
        return await self.file_of(
            await self.send_ordered([("keep", KEPT_TO_THE_END)]), "done")

    async def waiting_file(self, first, job_id):
        found = []

        def look():
            found[:] = [path for name, path in waiting(self.soak.spool)
                        if name == first and f".{job_id}." in path]
            return found

        await self.soak.wait_until(f"{job_id} waits for {first}", look)
        return found[0]

    async def release_by_hand(self, first, job_id):
        path = await self.waiting_file(first, job_id)
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, self.soak.path(self.QUEUE, "new", plain(path)))

    def tell_deletion(self, job_id, path):
        """The history says that qdel did it."""
        act = self.soak.next_call()
        self.soak.history.put("begin", act, "delete", self.QUEUE, "-", job_id)
        os.unlink(path)
        self.soak.history.put("did", act, job_id)
        self.soak.history.put("end", act, "ended")
