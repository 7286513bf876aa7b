"""What became of each job of a soak: told from the histories, the qworks' logs and the spool.

The histories are lines of words, the first two of them KIND and TIME (CLOCK_MONOTONIC, ns).

history, by soak.py:
  offer CALL QUEUE COUNT DELAY [WORD=VALUE]...   a sender was started with that many jobs, TOKENs
                                 CALL.0, ..., and with options that order them
  ack CALL INDEX ID              it printed this id; of a dropped file: the name it had
  refused CALL held|sealed|unknown|deleted [ID]   it sent nothing, or not all; ID has the key
  sent CALL killed|ended         it is gone; if it ended by itself all its jobs have ids
  begin ACT VERB QUEUE HOW [ID]...   an operator was started, on these jobs if named
  did ACT ID                     it reported to have done it
  end ACT killed|ended           it is gone
  signal NAME ROLE PID           sent
  worker QUEUE PID ...           a qwork was started
  alarm KIND WORDS               found wrong at once
  calm                           from here on all handlers succeed
  buried / left STATE QUEUE TOKEN|NAME   what the spool held then
  waiting FOR TOKEN              the same
  asked ACT ID|BATCH... / waited ACT STATUS   of qwait
  result ID STATUS WORD...       of qsend --wait, and what it wrote
  rate NAME NS BURST / unrated   a resource, of which one at a time may run, has a token each NS
  kept ID WORD...                a job in done/, and its output
handlers, by soak_handler.c, after the time its pid and the job's id:
  start TOKEN ATTEMPT ATTEMPTS QUEUE PARENT;  done TOKEN;  overlap, wrong, garbled WORDS;
  failed TOKEN STATUS;  deferred TOKEN MS

A job is what has a TOKEN. Acknowledged jobs are each finished, buried, deleted, or lost.
What was only begun when its sender or operator was killed may have happened or not.
"""
import collections
import glob
import math
import os
import re
import struct
import time
import zlib

import soak_order_judge

# Of the counts of statistics:
SENT, STARTED, FINISHED, FAILED, DEFERRED, RETURNED = 1, 3, 4, 5, 9, 10
MEMORY_MAX_KB = 16 << 10  # of a qwork; measured: 3 MB
DELAY_SLACK_NS = 2_000_000  # DUE is in ms
SHOWN = 10  # violations of each kind
SHOWN_LINES = 60  # of the history of a job

KINDS = {
    "lost": "acknowledged, and neither finished nor buried nor deleted",
    "overlapping": "ran twice at once",
    "garbled": "payloads that were not what was sent",
    "wrong": "arguments, environments or locks that were wrong",
    "doubled": "became two jobs",
    "unknown": "ran and was never sent",
    "risen": "ran after it was deleted or while it was buried",
    "budget": "had more attempts than allowed",
    "repeated": "ran again after success for no reason",
    "early": "ran before its time",
    "left": "jobs or files that should not be left",
    "status": "tools that crashed or said what they must not say",
    "hung": "what did not come to an end",
    "leaking": "qworks with more memory than they need",
    "idle": "runs in which nothing happened",
    "statistics": "counts that are not what was done, but for one job a SIGKILL",
    **soak_order_judge.KINDS,
}


class History:
    def __init__(self, path):
        self.file = open(path, "x", encoding="utf-8")

    def put(self, kind, *words):
        text = " ".join(map(str, words)).replace("\n", "\\n")
        self.file.write(f"{kind} {time.monotonic_ns()} {text}\n")

    def close(self):
        self.file.close()


def status_text(status):
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def token_of(payload):
    """The token of a whole payload, else None."""
    text, _, crc = payload.rstrip(b"\n").rpartition(b" ")
    words = text.split(b" ")
    if crc != b"%08x" % zlib.crc32(text) or words[0] != b"soak" or len(words) != 8:
        return None
    return words[1].decode()


def queues(spool):
    """A killed sender may leave a .draft of one."""
    return [name for name in os.listdir(spool) if not name.startswith(".")]


def note_buried(history, spool):
    for queue in queues(spool):
        for name in os.listdir(os.path.join(spool, queue, "buried")):
            with open(os.path.join(spool, queue, "buried", name), "rb") as file:
                history.put("buried", queue, token_of(file.read()) or name)


def note_left(history, spool):
    for queue in queues(spool):
        for state in os.scandir(os.path.join(spool, queue)):
            for name in os.listdir(state) if state.is_dir() else []:
                history.put("left", state.name, queue, name)


def note_statistics(history, spool):
    """The words of counts of each queue: spool-layout.md."""
    for queue in queues(spool):
        with open(os.path.join(spool, queue, "stats"), "rb") as file:
            history.put("statistics", queue, *struct.unpack_from("=16Q", file.read(), 136))


class Act:
    """What an operator did, or may have done: VERB to JOBS, between BEGAN and ENDED."""

    def __init__(self, began, verb, how, jobs):
        self.began = began
        self.ended = None
        self.verb = verb
        self.kills = how == "kill"
        self.by_hand = how == "hand"
        self.jobs = jobs
        self.did = []
        self.killed = False


class Offer:
    """A call of qsend."""

    def __init__(self, at, queue, count, delay, order):
        self.at = at
        self.queue = queue
        self.count = count
        self.not_before = at + delay - DELAY_SLACK_NS if delay else 0
        self.order = soak_order_judge.Order(order)


class Start:
    def __init__(self, at, pid, parent, attempt, attempts):
        self.at = at
        self.pid = pid
        self.parent = parent
        self.attempt = attempt
        self.attempts = attempts


class Records:
    """All that was written down, by token and by id."""

    def __init__(self, directory):
        self.directory = directory
        self.offers = {}  # of each call
        self.acked_at = {}  # of each token
        self.refused = []  # (time, call, why, id)
        self.waited = []  # (time, ids and batches), of qwaits that were told that all is over
        self.may_wait = []  # the same of all qwaits, and when they began
        self.asked = {}
        self.results = []  # (time, id, status, words)
        self.rates = {}  # of each resource: (time, ns, burst)
        self.unrated = math.inf
        self.waiting = set()  # tokens
        self.kept = {}  # words of each id
        self.failed = collections.defaultdict(list)  # of each token: (time, status)
        self.deferred = collections.defaultdict(list)  # of each id: (time, pid, ns)
        self.failed_at = collections.defaultdict(list)  # (time, pid)
        self.acked = {}  # id, or name of a dropped file, of each token
        self.ids = collections.defaultdict(set)  # of each token
        self.token = {}  # of each id
        self.starts = collections.defaultdict(list)  # of each id
        self.done = collections.defaultdict(list)  # of each token: (time, pid)
        self.acts = {}
        self.acts_on = collections.defaultdict(list)  # of each id
        self.signalled = {}  # the first time, of each pid
        self.buried = set()  # tokens
        self.returns = collections.Counter()  # of each id
        self.timed_out = set()  # ids
        self.calm = None
        self.left = []
        self.descriptors = self.memory = ()
        self.violations = collections.defaultdict(dict)  # of each kind: words of each subject
        self.killed_senders = 0
        self.kills = 0  # but of handlers
        self.counts = [0] * 16  # of all queues
        self.recovered = 0
        self.read("history")
        self.read("handlers")
        for path in glob.glob(os.path.join(directory, "qwork.*")):
            self.read_log(path)
        for act in self.acts.values():
            for job in {*act.jobs, *act.did}:
                self.acts_on[job].append(act)

    def violation(self, kind, subject, words=""):
        self.violations[kind].setdefault(subject, words)

    def read(self, name):
        try:
            with open(os.path.join(self.directory, name), encoding="utf-8") as file:
                for line in file:
                    kind, at, *words = line.split()
                    getattr(self, f"take_{kind}")(int(at), *words)
        except FileNotFoundError:
            pass

    def take_offer(self, at, call, queue, count, delay, *order):
        self.offers[call] = Offer(at, queue, int(count), int(delay), order)

    def take_ack(self, at, call, index, job_id):
        token = f"{call}.{index}"
        self.acked[token] = job_id
        self.acked_at[token] = at
        self.name(token, job_id)

    def name(self, token, job_id):
        if job_id.startswith("drop."):
            return  # it gets its id when it is claimed
        self.ids[token].add(job_id)
        if self.token.setdefault(job_id, token) != token:
            self.violation("garbled", job_id, f"is {self.token[job_id]} and {token}")

    def take_refused(self, at, *call_why_id):
        self.refused.append((at, *call_why_id))

    def take_asked(self, at, act, *items):
        self.asked[act] = items
        self.may_wait.append((at, items))

    def take_waited(self, at, act, status):
        if status == "0":
            self.waited.append((at, self.asked[act]))

    def take_result(self, at, job_id, status, *words):
        self.results.append((at, job_id, int(status), list(words)))

    def take_rate(self, at, name, each, burst):
        self.rates[name] = at, int(each), int(burst)

    def take_unrated(self, at):
        self.unrated = at

    def take_deferred(self, at, pid, job_id, _token, ms):
        self.deferred[job_id].append((at, int(pid), int(ms) * 1_000_000))

    def take_waiting(self, _at, _what, token):
        self.waiting.add(token)

    def take_kept(self, _at, job_id, *words):
        self.kept[job_id] = list(words)

    def take_failed(self, at, pid, _job_id, token, status):
        self.failed[token].append((at, int(status)))
        self.failed_at[token].append((at, int(pid)))

    def take_sent(self, _at, _call, how):
        self.killed_senders += how == "killed"

    def take_begin(self, at, act, verb, _queue, how, *jobs):
        self.acts[act] = Act(at, verb, how, jobs)

    def take_did(self, _at, act, job_id):
        self.acts[act].did.append(job_id)

    def take_end(self, at, act, how):
        self.acts[act].ended = at
        self.acts[act].killed = how == "killed"

    def take_statistics(self, _at, _queue, *counts):
        self.counts = [a + int(b) for a, b in zip(self.counts, counts)]

    def take_signal(self, at, name, *role_and_pid):
        self.kills += name == "SIGKILL" and role_and_pid[0] != "handler"
        self.signalled.setdefault(int(role_and_pid[-1]), at)

    def take_worker(self, *_):
        pass

    def take_alarm(self, _at, kind, *words):
        self.violation(kind, f"{len(self.violations[kind]) + 1}.", " ".join(words))

    def take_calm(self, at):
        self.calm = at

    def take_buried(self, _at, _queue, token):
        self.buried.add(token)

    def take_left(self, _at, *state_queue_name):
        self.left.append(state_queue_name)

    def take_descriptors(self, _at, *numbers):
        self.descriptors = numbers

    def take_memory(self, _at, *kilobytes):
        self.memory = [int(number) for number in kilobytes]

    def take_start(self, at, pid, job_id, token, attempt, attempts, _queue, parent):
        self.name(token, job_id)
        self.starts[job_id].append(
            Start(at, int(pid), int(parent), int(attempt), int(attempts)))

    def take_done(self, at, pid, _job_id, token):
        self.done[token].append((at, int(pid)))

    def take_overlap(self, _at, _pid, job_id, token, *words):
        self.name(token, job_id)
        self.violation("overlapping", token, " ".join(words))

    def take_wrong(self, _at, _pid, job_id, token, *words):
        self.violation("wrong", token, " ".join(words))

    def take_garbled(self, _at, _pid, job_id, *words):
        self.violation("garbled", job_id, " ".join(words))

    def read_log(self, path):
        """What qworks say; the noise of handlers goes there as well."""
        line_of = re.compile(
            r'time=\S+ queue=\S+ job=(\S+) .*\boutcome=(\S+)(?: cause=("[^"]*"|\S+))?')
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                said = line_of.search(line)
                if not said:
                    if not line.startswith(("noise", "time=")):
                        self.violation("status", os.path.basename(path), line.strip())
                elif said[2] in ("returned", "deferred"):
                    self.returns[said[1]] += 1
                elif said[3] == '"timed out"':
                    self.timed_out.add(said[1])
                elif said[3] == '"worker lost"':
                    self.recovered += 1


class Judge:
    def __init__(self, records):
        self.r = records
        self.deleted = {}  # token: when it was certain
        self.maybe_deleted = set()
        for act in records.acts.values():
            if act.verb == "delete":
                self.take_deletion(act)

    def token(self, job):
        return job[len("drop."):] if job.startswith("drop.") else self.r.token.get(job)

    def take_deletion(self, act):
        for job in act.did:
            self.deleted[self.token(job)] = act.ended
        if act.killed:
            self.maybe_deleted.update(map(self.token, act.jobs))

    def fate(self, token):
        calm = self.r.calm or math.inf
        late = self.r.acked_at[token] > calm
        if any(late or at < calm for at, _ in self.r.done.get(token, ())):
            return "finished"
        if token in self.deleted:
            return "deleted"
        if token in self.r.buried:
            return "buried"
        if token in self.r.waiting:
            return "waiting"
        return "unsure" if token in self.maybe_deleted else "lost"

    def all(self):
        fates = collections.Counter()
        for token in self.r.acked:
            fate = self.fate(token)
            fates[fate] += 1
            if fate == "lost":
                self.r.violation("lost", token)
            if fate in ("buried", "waiting") and token not in self.r.done:
                self.r.violation("lost", token, f"was {fate}, and could not be run in the end")
        for token, ids in self.r.ids.items():
            self.check_token(token, ids)
        for job_id, starts in self.r.starts.items():
            starts.sort(key=lambda start: start.at)
            self.check_burials(job_id)
            self.check_attempts(job_id, starts)
            self.check_repeats(job_id, starts)
            self.check_deferrals(job_id, starts)
        self.check_leftovers()
        self.check_statistics()
        soak_order_judge.OrderJudge(self.r, self).all()
        if not fates["finished"]:
            self.r.violation("idle", "no job has finished")
        return fates

    def check_token(self, token, ids):
        call, _, index = token.partition(".")
        offer = self.r.offers.get(call)
        if not offer or int(index) >= offer.count:
            self.r.violation("unknown", token)
        not_before = offer.not_before if offer else 0
        if len(ids) > 1:
            self.r.violation("doubled", token, " ".join(sorted(ids)))
        for job_id in ids:
            for start in self.r.starts.get(job_id, ())[:1]:
                if start.at < not_before and not self.acts(job_id, ("kick", "ready"), 0, start.at):
                    self.r.violation(
                        "early", token, f"by {(not_before - start.at) / 1e9:.3f} s")
        ran = [at for job_id in ids for at in self.ran(job_id)]
        if token in self.deleted and max(ran, default=0) > self.deleted[token]:
            self.r.violation("risen", token, "ran after it was deleted")

    def ran(self, job_id):
        """Times at which it was certainly running."""
        done = self.r.done.get(self.r.token[job_id], ())
        return [*(start.at for start in self.r.starts.get(job_id, ())), *(at for at, _ in done)]

    def acts(self, job_id, verbs, since, until):
        """What may have been done to it within that time."""
        return [act for act in self.r.acts_on.get(job_id, ())
                if act.verb in verbs and act.ended >= since and act.began <= until]

    def check_burials(self, job_id):
        for act in self.r.acts_on.get(job_id, ()):
            if act.verb != "bury" or job_id not in act.did:
                continue
            for at in self.ran(job_id):
                if at > act.ended and not self.acts(job_id, ("kick", "ready"), act.began, at):
                    self.r.violation("risen", self.r.token[job_id], "ran while it was buried")

    def check_attempts(self, job_id, starts):
        """The numbers go up, but for what was kicked or given back. What was moved out of
        buried/ by hand goes on where it stood."""
        token = self.r.token[job_id]
        kicks = len(self.acts(job_id, ("kick",), 0, starts[-1].at))
        moved = len(self.acts(job_id, ("ready",), 0, starts[-1].at))
        down = sum(b.attempt <= a.attempt for a, b in zip(starts, starts[1:]))
        if down > kicks + self.r.returns[job_id]:
            numbers = " ".join(str(start.attempt) for start in starts)
            self.r.violation("budget", token, f"attempts {numbers} with {kicks} kicks and "
                                              f"{self.r.returns[job_id]} returns")
        for start in starts:
            if start.attempt > start.attempts + moved:
                self.r.violation("budget", token, f"attempt {start.attempt} of {start.attempts}")

    def is_disturbed(self, job_id, starts, at, pid, until):
        """Whether its qwork may not have learned how the attempt of PID ended AT that time."""
        run = [start for start in starts if start.at <= at and start.pid == pid][-1]
        return job_id in self.r.timed_out or any(act.kills for act in self.r.acts_on[job_id]) or \
            any(self.r.signalled.get(process, math.inf) < until for process in (pid, run.parent))

    def check_repeats(self, job_id, starts):
        """A success is not believed only if somebody interfered."""
        token, last = self.r.token[job_id], starts[-1].at
        for at, pid in self.r.done.get(token, ()):
            if last > at and not self.is_disturbed(job_id, starts, at, pid, last):
                self.r.violation("repeated", token)

    def check_deferrals(self, job_id, starts):
        for at, pid, wait in self.r.deferred[job_id]:
            again = min((start.at for start in starts if start.at > at), default=math.inf)
            if again < at + wait - DELAY_SLACK_NS and \
                    not self.acts(job_id, ("kick", "ready"), at, again) and \
                    not self.is_disturbed(job_id, starts, at, pid, again):
                self.r.violation("early", self.r.token[job_id], "though it was deferred")

    def check_leftovers(self):
        """Killed senders leave files in tmp/, and links to them; killed qworks and operators meta
        and logs."""
        acked = set(self.r.acked.values())
        drafts = {name for state, _, name in self.r.left if state == "tmp"}
        for state, queue, name in self.r.left:
            job_id = name.partition("@")[0]
            if not (state in ("meta", "log", "out") or job_id in drafts - acked or
                    (state == "done" and name.split(".")[-2] in self.r.kept)):
                self.r.violation("left", f"{queue}/{state}/{name}")
        partly = sum(self.unacknowledged(call) for call in self.r.offers)
        in_tmp = sum(state == "tmp" for state, *_ in self.r.left)
        if in_tmp > partly:
            self.r.violation("left", f"{in_tmp} files in tmp/",
                             f"and only {partly} jobs of killed senders")

    def check_statistics(self):
        """Each SIGKILL may have cost one count. Of a killed sender's jobs some may be there, and a handler
        that has done its job may be run again, or be ended before it says so."""
        counts = self.r.counts
        acked = sum(not job_id.startswith("drop.") for job_id in self.r.acked.values())
        offered = acked + sum(self.unacknowledged(call) for call in self.r.offers)
        ended = counts[FINISHED] + counts[FAILED] + counts[DEFERRED] + counts[RETURNED]
        over = [token for token in self.r.done if token not in {*self.deleted, *self.maybe_deleted}]
        for what, count, least, most in (
                ("sent", counts[SENT], acked, offered),
                ("attempts started", counts[STARTED], sum(map(len, self.r.starts.values())), math.inf),
                ("attempts ended", ended, counts[STARTED], counts[STARTED]),
                ("finished", counts[FINISHED], len(over), sum(map(len, self.r.done.values())))):
            if not least - self.r.kills <= count <= most + self.r.kills:
                self.r.violation("statistics", what, f"{count}, not {least} to {most}, with {self.r.kills} kills")

    def unacknowledged(self, call):
        return sum(f"{call}.{index}" not in self.r.acked
                   for index in range(self.r.offers[call].count))

    def ran_unacknowledged(self):
        return sum(token not in self.r.acked for token in self.r.done)


def show_job(directory, words):
    """All lines that speak of the job."""
    shown = 0
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if words & set(re.split(r"[ =\n]", line)) and shown < SHOWN_LINES:
                    shown += 1
                    print(f"      {name}: {line[:300].rstrip()}")


def show_violations(records):
    for kind, found in records.violations.items():
        print(f"{kind}: {len(found)} ({KINDS[kind]})")
        for subject, words in list(found.items())[:SHOWN]:
            print(f"  {subject} {words}")
            ids = records.ids.get(subject, {subject})
            if kind not in ("status", "hung", "left", "leaking", "idle", "statistics", "barred"):
                show_job(records.directory, {subject, *ids})


def counted(counts):
    return ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))


def show_figures(records, judge, fates, count):
    starts = sum(map(len, records.starts.values()))
    print(f"  jobs acknowledged {len(records.acked)}: finished {fates['finished']}, "
          f"buried {fates['buried']}, waiting {fates['waiting']}, deleted {fates['deleted']}, "
          f"unsure {fates['unsure']}, lost {fates['lost']}")
    print(f"  of jobs not acknowledged, as their senders were killed, "
          f"{judge.ran_unacknowledged()} ran whole")
    print(f"  attempts started {starts}, retries {starts - len(records.starts)}, recovered "
          f"{records.recovered}, given back {sum(records.returns.values())}, successes repeated "
          f"{sum(len(done) - 1 for done in records.done.values())}")
    kills = {what[len("kills of "):]: n for what, n in count.items() if what.startswith("kills")}
    others = {what: n for what, n in count.items() if not what.startswith("kills")}
    print(f"  kills {sum(kills.values())} ({counted(kills)})")
    print(f"  {counted(others)}")
    states = collections.Counter(state for state, *_ in records.left)
    print(f"  left in tmp/ {states['tmp']}, meta/ {states['meta']}, log/ {states['log']} "
          f"(the sweep removes them after an hour)")
    print(f"  counted: sent {records.counts[SENT]}, attempts started {records.counts[STARTED]}, "
          f"finished {records.counts[FINISHED]}, failed {records.counts[FAILED]}")
    if records.memory:
        print(f"  steady qworks: memory {max(records.memory)} KB at most, descriptors "
              f"{', '.join(records.descriptors[1:])} (a new one {records.descriptors[0]})")


def judge(directory, count, sanitized):
    """Prints the figures and what is wrong; True if nothing is."""
    records = Records(directory)
    judging = Judge(records)
    fates = judging.all()
    if not sanitized and max(records.memory, default=0) > MEMORY_MAX_KB:
        records.violation("leaking", f"{max(records.memory)} KB")
    show_violations(records)
    show_figures(records, judging, fates, count)
    found = records.violations
    first = ("lost", "overlapping", "garbled")
    main = ", ".join(f"{kind} {len(found[kind])}" for kind in first)
    print(f"soak: {main}, other violations {sum(len(found[kind]) for kind in {*KINDS} - {*first})}")
    return not any(found.values())
