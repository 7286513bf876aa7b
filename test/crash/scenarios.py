"""What the fault sweep does with each tool, and what has to hold after it.

A scenario prepares a spool with undisturbed tools and names the command that is to be
disturbed. Its judge looks at what a run left, and returns the promises that it broke.
"""

import itertools
import os
import re
import shutil
import subprocess

import spooldir

ATTEMPTS = 2
BEFORE = "till tomorrow\n"  # of a pause

# The payload says what becomes of the job. Each start is noted first.
HANDLER = """read -r what
echo "$what $QJOB_ID $QJOB_ATTEMPT" >>"$1"
case $what in
fail*) echo failed >&2; exit 1 ;;
bad*) exit 65 ;;
note*) [ ! "$QJOB_CONTROL" ] || echo "note heard" >>"$QJOB_CONTROL" || : ;;
trip*) [ ! "$QJOB_CONTROL" ] || echo "trip db 10ms" >>"$QJOB_CONTROL" || : ;;
stop*) if [ "$2" = disturbed ]; then kill -TERM $PPID; exec sleep 20; fi ;;
esac"""
# One that stays; of what is kept its answer is the output.
STAYS = """while read -r id attempt path; do
read -r what <"$path"
echo "$what $id $attempt" >>"$1"
case $what in
fail*) echo failed >&2; echo 1 ;;
note*) [ ! "$QJOB_CONTROL" ] || echo "note heard" >>"$QJOB_CONTROL" || :; echo 0 ;;
*) echo 0 "$what" ;;
esac
done"""
# How jobs of a payload end: buried, or gone; and whether they may be started.
NEVER_RUN = ("torn", "lost-meta", "expired", "long", "spent", "orphan")
BURIED = ("fail", "bad") + NEVER_RUN
KEPT = ("kept",)  # finished, in done/
OVER = ("over",)  # kept, and its time is over


class Scenario:
    def __init__(self, name, tool, arguments, judge, prepare=(), **more):
        self.name = name
        self.command = [tool] + arguments
        self.judge = judge
        self.prepare = prepare  # functions of a Template
        self.stdin = b""
        self.payloads = []  # of qsend: what each job is to hold
        self.prefix = []  # of the commands: to limit them
        self.standing = []  # faults in force all the while
        self.sound = True  # before it, says qfsck
        self.ahead = 0  # seconds that the clock is: so old is what was prepared
        self.calls = None  # which calls are disturbed: all
        self.short = False  # part of the short sweep
        self.expect = 0  # exit status of the undisturbed run
        self.__dict__.update(more)

    def with_standing(self, name, fault):
        """The same with another fault in force all the while."""
        copy = Scenario.__new__(Scenario)
        copy.__dict__.update(self.__dict__, name=f"{self.name}, {name}", standing=[fault], short=False)
        return copy


class Template:
    """A prepared spool."""

    def __init__(self, directory, tools):
        self.spool = os.path.join(directory, "spool")
        self.tools = tools
        self.jobs = {}  # payload's text -> id

    def run(self, tool, *arguments, stdin=b""):
        command = [os.path.join(self.tools, tool), "-s", self.spool, *arguments]
        done = subprocess.run(
            command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stderr.decode()}")
        return done.stdout.decode().split()

    def send(self, payload, *arguments):
        self.jobs[payload] = self.run("qsend", *arguments, stdin=payload.encode() + b"\n")[0]

    def path(self, payload, state="new"):
        directory = self.directory(state)
        for name in os.listdir(directory):
            if self.jobs[payload] in name:
                return os.path.join(directory, name)
        raise RuntimeError(f"{payload} is not in {state}/")

    def directory(self, state):
        return os.path.join(self.spool, "default", state)


# --- preparing ----------------------------------------------------------------


def queue(template):
    """A queue that is there and empty."""
    template.send("gone")
    template.run("qdel", "-q", "default", "--all")
    template.jobs.clear()


def limited(*arguments):
    return lambda template: template.run("qlimit", *arguments)


def one_slot(template):
    path = os.path.join(template.spool, ".resource/db/slot")
    os.makedirs(path)
    with open(os.path.join(path, "1"), "w"):
        pass


def no_meta_dir(template):
    queue(template)
    os.rmdir(template.directory("meta"))
    os.rmdir(template.directory("log"))


def no_statistics(template):
    os.unlink(template.directory("stats"))


def sent(payload, *arguments):
    return lambda template: template.send(payload, *arguments)


def sent_after(payload, others, *arguments):
    def prepare(template):
        after = [f"--after={template.jobs[other]}" for other in others.split()]
        template.send(payload, *after, *arguments)

    return prepare


def begun(batch):
    return lambda template: template.run("qsend", "--lines", "--batch", batch)


def gone(payload):
    """Deleted; the text stands for its id still."""
    return lambda template: template.run("qdel", template.jobs[payload])


def sent_to_a_queue_that_went(*arguments):
    """With its links left."""

    def prepare(template):
        queue(template)
        template.run("qsend", "-q", "other", *arguments)
        shutil.rmtree(os.path.join(template.spool, "other"))

    return prepare


def never_sent(payload, *arguments):
    """Its sender died before it could."""

    def prepare(template):
        template.send(payload, *arguments)
        os.rename(template.path(payload), os.path.join(template.directory("tmp"), template.jobs.pop(payload)))

    return prepare


def deleted(payload):
    def prepare(template):
        template.run("qdel", template.jobs.pop(payload))

    return prepare


def marked_as_deleted(payload, batch):
    """By a qdel that died."""

    def prepare(template):
        for path in (f".wait/{template.jobs[payload]}/.deleted", f".batch/{batch}/deleted.{template.jobs[payload]}"):
            with open(os.path.join(template.spool, path), "w"):
                pass

    return prepare


def removed(payload, *arguments):
    """By rm, with all its links left."""

    def prepare(template):
        if arguments or payload not in template.jobs:
            template.send(payload, *arguments)
        os.unlink(template.path(payload))
        template.jobs.pop(payload)

    return prepare


def set_aside(payload, *arguments):
    """By mv, with its key."""

    def prepare(template):
        template.send(payload, *arguments)
        os.rename(template.path(payload), template.path(payload).replace("/new/", "/buried/"))

    return prepare


def put_back(payload):
    """By mv, without its key."""

    def prepare(template):
        path = template.path(payload, "buried")
        os.rename(path, path.replace("/buried/", "/new/"))
        shutil.rmtree(os.path.join(template.spool, ".key"))

    return prepare


def complete_for_long(batch):
    def prepare(template):
        begun(batch)(template)
        template.send("gone", "--after", batch)
        template.run("qdel", template.jobs.pop("gone"))
        os.utime(os.path.join(template.spool, ".batch", batch), (0, 0))

    return prepare


def order_drafts(template):
    """Of a key and of a batch."""
    key = os.path.join(template.spool, ".key/.draft-1htjfe0f8p4gpfag9ah8")
    batch = os.path.join(template.spool, ".batch/.draft-12345678")
    os.makedirs(key)
    os.makedirs(batch + "/open")
    for path in (key + "/1htjfe0f8p4gpfag9ah8@default", batch + "/name"):
        with open(path, "w") as file:
            file.write("B\n")
    for path in (key, batch):
        os.utime(path, (0, 0))


def half_taken_in(identity):
    """What died left that took it in."""

    def prepare(template):
        queue(template)
        for name in ("tmp", "meta"):
            with open(os.path.join(template.directory(name), identity), "w") as file:
                file.write("half of it")

    return prepare


def buried(payload, *arguments):
    def prepare(template):
        template.send(payload, *arguments)
        template.run("qbury", template.jobs[payload])

    return prepare


def lost(payload, attempts=1, *arguments):
    """Its worker is gone."""

    def prepare(template):
        template.send(payload, *arguments)
        name = os.path.basename(template.path(payload))
        head, _, marks = name.partition(".0")
        os.rename(
            template.path(payload),
            os.path.join(template.directory("cur"), f"{head}.{attempts}{marks}"),
        )

    return prepare


def kept_too_long(payload):
    def prepare(template):
        template.send(payload, "--keep", "1s")
        for name in ("done", "out"):
            os.mkdir(template.directory(name))
        name = os.path.basename(template.path(payload)).replace(".0", ".1")
        os.rename(template.path(payload), os.path.join(template.directory("done"), f"20200101T000000.000Z.{name}"))
        with open(os.path.join(template.directory("out"), template.jobs[payload]), "w", encoding="utf-8"):
            pass

    return prepare


def torn(payload):
    def prepare(template):
        template.send(payload, "--no-sync")
        with open(template.path(payload), "r+b") as file:
            file.write(b"\0" * len(payload))

    return prepare


def lost_meta(payload):
    def prepare(template):
        template.send(payload, "-A", str(ATTEMPTS))
        os.unlink(os.path.join(template.directory("meta"), template.jobs[payload]))

    return prepare


def foreign(payload):
    def prepare(template):
        queue(template)
        with open(os.path.join(template.directory("new"), f"report {payload}"), "w") as file:
            file.write(payload + "\n")
        template.jobs[payload] = None

    return prepare


def too_late(payload):
    """A retry of the next century."""

    def prepare(template):
        template.send(payload)
        due = f"21000101T000000.000Z.50.{template.jobs[payload]}.1"
        os.rename(template.path(payload), os.path.join(template.directory("delay"), due))

    return prepare


def one_that_is(function):
    """A job with options, and what FUNCTION makes of its file."""

    def prepare(template):
        template.send("ok", "-A", "3")
        function(template, template.path("ok"), os.path.basename(template.path("ok")))

    return prepare


def only_readable(template, path, name):
    os.chmod(path, 0o400)


def in_delay_without_time(template, path, name):
    os.rename(path, os.path.join(template.directory("delay"), name))


def copied(template, path, name):
    shutil.copy(path, os.path.join(template.directory("buried"), name))


def under_two_names(template, path, name):
    os.link(path, os.path.join(template.directory("cur"), name.replace(".0", ".1")))


def without_its_mark(template, path, name):
    os.rename(path, path.replace(",m", ""))


def with_a_key_of_others(template, path, name):
    key = os.path.join(template.spool, ".key/others")
    os.makedirs(key)
    os.link(path, os.path.join(key, f"{template.jobs['ok']}@default"))


def in_a_closed_directory(template, path, name):
    os.chmod(os.path.dirname(path), 0o500)


def beside_a_foreign_file(template, path, name):
    with open(os.path.join(template.directory("buried"), "report"), "w") as file:
        file.write("report\n")


def old_leftovers(template):
    queue(template)
    for path in ("tmp/1htjfe0f8p4gpfag9ah8", "meta/1htjfe0f8p4gpfag9ah9", "log/1htjfe0f8p4gpfag9aha"):
        with open(os.path.join(template.spool, "default", path), "w") as file:
            file.write("left\n")
    spooldir.age_leftovers(template.spool)


def paused(text, age=0):
    """A queue and its pause, written so long ago."""

    def prepare(template):
        queue(template)
        path = os.path.join(template.spool, "default", "paused")
        with open(path, "w") as file:
            file.write(text)
        then = os.stat(path).st_mtime - age
        os.utime(path, (then, then))

    return prepare


# --- judging ------------------------------------------------------------------

EXITS = {0, *range(64, 79)}


def told_why(run):
    """A call failed, and that is no secret: what, and where."""
    call = run.failures[0]
    told = run.stderr + (run.stdout if run.scenario.judge is judge_repair else "")
    directory, name = os.path.split(call.path)
    places = [name, spooldir.job_id(name) or name, os.path.basename(directory)]
    places += re.findall(r"/\.draft-(\w+)-", call.path)  # a queue that is being made
    places += re.findall(r"/(\.(?:key|batch|wait))\b", call.path)
    if call.path == run.spool:  # where one of these is being made
        places += [".wait", ".resource", ".key", ".batch"]
    if run.scenario.standing:
        places += [spooldir.job_id(os.path.basename(other.path)) or name for other in run.calls]
    if run.scenario.judge is judge_repair:  # under the name that it had
        places += [job.name for job in run.jobs_before]
    if os.strerror(call.error) not in told:
        yield f"it does not say '{os.strerror(call.error)}'"
    elif not any(word in told for word in places):
        yield f"it does not name {call.path}"


def one_place(run):
    """No job is in two places, but under two names of one file if a rename was cut in two."""
    seen = {}
    for job in run.jobs:
        if job.id in seen and not run.scenario.standing:
            yield f"{job.id} is in {seen[job.id]}/ and in {job.state}/"
        seen[job.id] = job.state


def ends_as_it_should(run):
    """The exit status and the messages, whatever the tool."""
    if run.killed:
        return
    if run.status not in EXITS and not (run.status == 1 and run.scenario.judge is judge_repair):
        yield f"exit status {run.status}"
    if run.status != run.scenario.expect and not (run.stderr + run.stdout).strip():
        yield "it fails and says nothing"
    if not run.failures and run.status != run.scenario.expect:
        yield f"exit status {run.status}, though nothing failed"
    if len(run.failures) == 1 and not is_no_matter(run):
        yield from told_why(run)


def is_no_matter(run):
    """Tidying up that failed, which the next one does, too, and counting for show."""
    call = run.failures[0]
    if call.path.endswith(("/finished", "/deleted")):  # what only qstat and qwait show; another name for a mark
        return True
    tidies = re.search(r"/\.(wait|key|batch)/[^/]+$|/\.draft-", call.path) and run.status == 0
    return run.cannot_remove and (tidies or (run.status == 0 and sends(run)))


def sends(run):
    return run.scenario.judge in (judge_send, judge_held)


def hands_over(run):
    return run.scenario.command[:2] == ["carry", "push"]


def marks_not_synced(run):
    """A job waits for them, and after a power cut what has no mark is over."""
    before = itertools.takewhile(lambda call: call.call != "rename", run.calls)
    synced = {call.path for call in before if call.call == "fsync-dir" and call.took_effect}
    for word in run.scenario.command:
        path = os.path.join(run.spool, ".wait", run.sent.get(word, word))
        if os.path.exists(os.path.join(path, ".job")) and path not in synced:
            yield f"a job was sent before the mark in {path} was synced"


def judge_send(run):
    expected = run.scenario.payloads
    durable = re.findall(r"^\S{20}$", run.stdout, re.M)
    unsure = re.findall(r"job (\S{20}) may have been sent", run.stderr)
    before = {job.id for job in run.jobs_before}
    published = {job.id: job for job in run.jobs if job.id not in before}
    no_sync = "--no-sync" in run.scenario.command

    yield from ends_as_it_should(run)
    yield from one_place(run)
    if published:
        yield from marks_not_synced(run)
    if run.status == 0 and len(durable) != len(expected):
        yield f"exit 0, and {len(durable)} ids instead of {len(expected)}"
    for i, identity in enumerate(durable + unsure):
        if identity not in published:
            yield f"{identity} was announced and is not there"
        elif published[identity].content != expected[i]:
            yield f"{identity} has another content"
    for identity in durable:
        for why in [] if no_sync else run.disk.undurable(identity):
            yield f"{identity} was announced, and {why}"
    for job in published.values():
        if job.content not in expected:
            yield f"{job.name} is half a job"
        if ("m" in job.marks) != os.path.exists(os.path.join(run.spool, "default/meta", job.id)):
            yield f"{job.name} and its options do not belong together"
    if run.killed:
        return
    if unsure and run.status != 75:
        yield f"exit {run.status}, though jobs may have been sent"
    if run.status == 75 and not unsure:
        yield "exit 75, and no job is named"
    for identity in published:
        if identity not in durable + unsure:
            yield f"{identity} is there and was not announced"
    if run.left_over and not run.cannot_remove:
        yield f"it leaves {run.left_over}"


def judge_held(run):
    """qsend with a key that a job has: nothing is sent."""
    (holder,) = run.jobs_before
    yield from ends_as_it_should(run)
    if [(job.id, job.state) for job in run.jobs] != [(holder.id, holder.state)]:
        yield f"there are {[job.name for job in run.jobs]}"
    if run.status == 0 and run.stdout.split() != [holder.id]:
        yield f"exit 0, and it prints {run.stdout.split()}"
    if run.status == 0 and not {"tmp", holder.state} <= {os.path.basename(path) for path in run.disk.synced}:
        yield "exit 0, and the one that has the key may not be on disk"
    if run.left and not run.killed and not run.cannot_remove:
        yield f"it leaves {run.left}"


def judge_operate(run):
    """qbury, qkick, qdel of all jobs of the spool, or of those that are named."""
    place = {"qbury": "buried", "qkick": "new", "qdel": None}[run.scenario.command[0]]
    named = [run.sent[word] for word in run.scenario.command if word in run.sent]
    now = {job.id: job for job in run.jobs}
    before = {job.id: job for job in run.jobs_before if not named or job.id in named}

    yield from ends_as_it_should(run)
    yield from one_place(run)
    for identity, job in before.items():
        state = now[identity].state if identity in now else None
        payload = now[identity].content if identity in now else job.content
        both_names = len([other for other in run.jobs if other.id == identity]) > 1
        done = state == place and state != job.state and not both_names
        if payload != job.content:
            yield f"{identity} has another content"
        if state not in (job.state, place) and not (job.state == "cur" and state == "buried"):
            yield f"{identity} came to {state}/"
        if run.status == 0 and state != place:
            yield f"exit 0, and {identity} is in {state}/"
        if run.status == 0:
            yield from (f"exit 0, and {why}" for why in run.disk.undurable(identity))
        if done and not run.killed and run.disk.undurable(identity):
            if run.status != 75 and len(run.failures) == 1:
                yield f"exit {run.status}, though {identity} moved and may be moved back"
            if not re.search(rf"{identity}.*power cut", run.stderr):
                yield f"it does not say that a power cut may undo what was done to {identity}"


def judge_delete_waited_for(run):
    """qdel of a job for which others wait: they are buried, and before it is gone."""
    yield from judge_operate(run)
    now = {job.id: job.state for job in run.jobs}
    named = [run.sent[word] for word in run.scenario.command if word in run.sent]
    for job in run.jobs_before:
        state = now.get(job.id)
        if job.id in named:
            continue
        if state not in ("wait", "buried"):
            yield f"{job.id}, which waited, is in {state}/"
        elif state != "buried" and not all(identity in now for identity in named):
            yield f"{job.id} still waits for what is deleted"
        elif run.status == 0:
            yield from (f"exit 0, and {why}" for why in run.disk.undurable(job.id))


def judge_work(run):
    yield from ends_as_it_should(run)
    yield from one_place(run)
    usual = run.prepared.open_at_end
    if not run.killed and usual is not None and run.open_at_end != usual:
        yield f"{run.open_at_end} descriptors are open at the end, not {usual}"
    contents = {job.content for job in run.jobs_before}
    for job in run.jobs:
        if job.content not in contents:
            yield f"{job.name} has another content"
        if job.state == "buried" and not run.killed and not run.failures:  # T7, T9 are durable
            for why in run.disk.undurable(job.id):
                if "/log/" not in why:
                    yield f"{job.name} is buried, and {why}"


def judge_repair(run):
    """qfsck --repair: exit 0 only if all is mended for good."""
    yield from ends_as_it_should(run)
    if {job.content for job in run.jobs} != {job.content for job in run.jobs_before}:
        yield "a job is gone, or another"
    for job in run.jobs:
        if run.status == 0 and job.id:
            yield from (f"exit 0, and {why}" for why in run.disk.undurable(job.id))
    if run.status == 0 and run.disk.removed_in:
        yield f"exit 0, and what was removed in {run.disk.removed_in} may come back"


def judge_pause(run):
    """qpause of a queue that is paused already: it is all the time, as before or as now wanted."""
    path = os.path.join(run.spool, "default", "paused")
    text = spooldir.read(path).decode() if os.path.exists(path) else None
    resumes = "--resume" in run.scenario.command
    new = text is None if resumes else bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.\d{3}Z\n", text or ""))
    directory = os.path.dirname(path)
    unsure = run.disk.names.get(path) or any(f"{directory}/tmp/" in dirty for dirty in run.disk.dirty)
    unsure = unsure or directory in run.disk.removed_in

    yield from ends_as_it_should(run)
    if not new and text != BEFORE:
        yield f"the pause says {text!r}"
    if run.status == 0 and not new:
        yield "exit 0, and nothing has happened"
    if run.status == 0 and unsure:
        yield "exit 0, and a power cut may undo it"
    if new and run.failures and not run.killed and not run.cannot_remove:
        if run.status != 75 or "power cut" not in run.stderr:
            yield f"exit {run.status}, and it does not say that a power cut may undo it"
    if run.left and not run.killed and not run.cannot_remove:
        yield f"it leaves {run.left}"


def judge_limit(run):
    """qlimit of the resource db: each of its files is as before, or as now wanted."""
    directory = os.path.join(run.spool, ".resource", "db")
    found = {name: spooldir.line(directory, name) for name in run.scenario.texts}
    drafts = [name for name in spooldir.listdir(directory) if name.startswith(".")]

    yield from ends_as_it_should(run)
    for name, texts in run.scenario.texts.items():
        if found[name] not in texts:
            yield f"{name} says {found[name]!r}"
    if run.status == 0 and found != {name: after for name, (_, after) in run.scenario.texts.items()}:
        yield "exit 0, and not all has happened"
    unsure = [path for path in run.disk.dirty if "/.draft-" in path]
    if run.status == 0 and (unsure or any(run.disk.names.values()) or run.disk.removed_in):
        yield "exit 0, and a power cut may undo it"
    if drafts and not run.killed and not run.cannot_remove:
        yield f"it leaves {drafts}"


def judge_relet(run):
    """The option of a job is as before, or as now wanted."""
    (job,) = run.jobs_before
    text = spooldir.read(os.path.join(run.spool, "default/meta", job.id)).decode().splitlines()[1:-1]

    yield from ends_as_it_should(run)
    if [(now.id, now.name, now.content) for now in run.jobs] != [(job.id, job.name, job.content)]:
        yield f"there are {[now.name for now in run.jobs]}"
    if text not in (["attempts 2"], ["attempts 2", "relay engine 2"]):
        yield f"its options are {text!r}"
    if run.status == 0 and len(text) == 1:
        yield "exit 0, and nothing has happened"
    if run.left and not run.killed and not run.cannot_remove:
        yield f"it leaves {run.left}"


def judge_reader(run):
    if run.calls:
        yield f"it changes the spool: {run.calls[0].call} {run.calls[0].path}"
    if run.status != 0:
        yield f"exit status {run.status}"


# --- after it -----------------------------------------------------------------


def starts(run):
    """payload -> the numbers of its attempts, as the handlers saw them."""
    found = {}
    for line in spooldir.read(run.starts).decode().splitlines() if os.path.exists(run.starts) else []:
        payload, _, attempt = line.rsplit(" ", 2)
        found.setdefault(payload, []).append(int(attempt))
    return found


def kind(payload):
    return payload.split()[0].rstrip("0123456789")


def judge_end(run):
    """After an undisturbed qwork has done all that was left to do."""
    ran = starts(run)
    at_end = {}
    kept = {identity for payload, identity in run.sent.items() if kind(payload) in KEPT}
    yield from (f"in the end {lost} is not kept" for lost in kept - {job.id for job in run.jobs})
    for job in run.jobs:
        if job.id in kept and job.state == "done":
            continue
        if job.state != "buried":
            yield f"in the end {job.name} is in {job.state}/"
        if job.id in at_end:
            yield f"in the end {job.id} is in two places"
        at_end[job.id] = job
    for payload in set(ran) - set(run.sent):
        yield f"something ran that was never sent: {payload}"
    for payload, identity in run.sent.items():
        yield from judge_job(run, payload, ran.get(payload, []), at_end.get(identity))


def judge_left(run):
    """After a sweep; a draft of a queue, which is empty, may stay."""
    left = [name for name in run.left if not name.startswith(".draft-")]
    if left:
        yield f"not even the sweep removes {left}"


def judge_job(run, payload, attempts, buried_as):
    before = [job.attempts for job in run.jobs_before if job.id == run.sent[payload]]
    first = (before[0] if before and before[0] else 0) + 1
    exact = list(range(first, first + len(attempts)))
    out_of_attempts = run.killed and buried_as and buried_as.attempts >= ATTEMPTS

    if kind(payload) in OVER and not attempts and not buried_as:
        return
    if kind(payload) in NEVER_RUN + OVER and attempts:
        yield f"{payload} ran"
    if kind(payload) not in NEVER_RUN and not attempts and not out_of_attempts:
        yield f"{payload} never ran"
    if kind(payload) == "stop" or hands_over(run):  # gives the attempt back, or spends none
        exact = attempts
    if run.sent[payload] is None and run.scenario.standing and (run.killed or run.cannot_remove):
        exact = attempts  # a foreign file whose old name stayed is taken in once more
    if attempts != exact and not (run.killed and attempts == sorted(set(attempts))):
        yield f"{payload} ran with the attempts {attempts} instead of {exact}"
    if attempts and max(attempts) > ATTEMPTS:
        yield f"{payload} ran {max(attempts)} times, and {ATTEMPTS} are allowed"
    if bool(buried_as) != (kind(payload) in BURIED) and not out_of_attempts:
        yield f"in the end {payload} is {'buried' if buried_as else 'gone'}"
    if buried_as and attempts and not run.killed and buried_as.attempts != max(attempts):
        yield f"{payload} is buried with {buried_as.attempts} attempts, not {max(attempts)}"


# --- all of them --------------------------------------------------------------


def push(name, *prepare, **more):
    return Scenario(f"push {name}", "carry", ["push", "STARTS"], judge_work, prepare, **more)


TAKEN_IN = "1htjfe0f8p4gpfag9ah8"


def pull(name, prepare):
    more = {"payloads": [b"payload\n"], "stdin": b"payload\n"}
    return Scenario(f"pull {name}", "carry", ["pull", TAKEN_IN], judge_send, [prepare], **more)


def lines(count):
    return b"".join(b"line %d\n" % i for i in range(count))


def send(name, *arguments, payloads=(b"payload\n",), judge=judge_send, **more):
    more.setdefault("stdin", b"".join(payloads))
    more.setdefault("prepare", [queue])
    return Scenario(
        f"qsend {name}", "qsend", list(arguments), judge, payloads=list(payloads), **more
    )


def work(name, *prepare, options=(), handler=None, **more):
    command = ["--drain", "-A", str(ATTEMPTS), "-b", "1s..1s", *options, "--"]
    command += handler or ["sh", "-c", HANDLER, "sh", "STARTS", "disturbed"]
    return Scenario(f"qwork {name}", "qwork", command, judge_work, prepare, **more)


def operate(tool, name, arguments, *prepare, judge=judge_operate, **more):
    return Scenario(f"{tool} {name}", tool, list(arguments), judge, prepare, **more)


def repair(name, *prepare):
    return Scenario(f"qfsck {name}", "qfsck", ["--repair"], judge_repair, prepare)


# Another has the slot until the job waits for it, or cannot.
UNTIL_IT_BLOCKS = [
    "bash",
    "-c",
    """exec 9<>"$3/.resource/db/slot/1"
flock 9
"$@" 9<&- &
until [[ $(ls "$3/.wait/@db") ]] || ! kill -0 $!; do sleep 0.01; done 2>/dev/null
exec 9<&-
wait $!""",
    "bash",
]


def pause(name, *arguments, **more):
    return Scenario(f"qpause {name}", "qpause", [*arguments, "default"], judge_pause, [paused(BEFORE)], **more)


def limit(name, arguments, texts, *prepare):
    """TEXTS: what is in each file of the resource db, before and after."""
    prepare = [queue, *prepare]
    return Scenario(f"qlimit {name}", "qlimit", [*arguments, "db"], judge_limit, prepare, texts=texts)


def read_only(tool, *arguments):
    name = " ".join([tool, *arguments])
    prepare = [sent("ok plain"), sent("ok delayed", "-d", "1h"), buried("ok buried", "-A", "3")]
    return Scenario(name, tool, list(arguments), judge_reader, prepare)


LONG = bytes(range(256)) * 1200  # more than one read and write
TOO_LONG_TO_CHECK = bytes(64 * 1024 * 1024 + 1)  # is synced also without sync

SCENARIOS = [
    send("of a payload", short=True),
    send("of a long payload", payloads=[LONG]),
    send("of an empty payload", payloads=[b""]),
    send("with options", "-A", "3", "-H", "Kind: test", "--", "argument", short=True),
    send("with a priority", "-p", "07"),
    send("delayed", "-d", "1h"),
    send("of a batch", "--lines", payloads=lines(3).splitlines(True)),
    send("of a batch with options", "--lines", "-A", "3", payloads=lines(3).splitlines(True)),
    send("of a large batch", "--lines", payloads=lines(12).splitlines(True)),
    send("of a large batch with options", "--lines", "-A", "3", payloads=lines(10).splitlines(True)),
    send("without sync", "--no-sync"),
    send("of a batch without sync", "--no-sync", "--lines", payloads=lines(3).splitlines(True)),
    send(
        "of what is too long to go without sync",
        "--no-sync",
        payloads=[TOO_LONG_TO_CHECK],
        calls=("fsync-file", "rename"),
    ),
    send("into a spool that is not there", prepare=()),
    send("into a queue that lacks directories", prepare=[no_meta_dir]),
    send("into a queue without statistics", prepare=[queue, no_statistics]),
    work("finishes", sent("ok"), sent("ok2", "-A", "2"), short=True),
    work("makes statistics", sent("ok"), no_statistics),
    work("keeps", sent("kept", "--keep", "1h")),
    work("keeps no longer", kept_too_long("over")),
    work(
        "feeds a handler that stays",
        sent("ok"),
        sent("fail"),
        sent("note"),
        sent("kept", "--keep", "1h"),
        options=["--persist"],
        handler=["sh", "-c", STAYS, "sh", "STARTS"],
    ),
    work("two at once", sent("fail"), sent("ok", "-A", "2"), options=["-j", "2"]),
    work("retries", sent("fail")),
    work("gives up", sent("fail"), options=["-A", "1"]),
    work("buries", sent("bad")),
    work("adopts", foreign("ok adopted"), ahead=3),
    work("buries what is torn", torn("torn")),
    work("buries what lacks its options", lost_meta("lost-meta"), sound=False),
    work("buries what expired", sent("expired", "-T", "1ms")),
    work("recovers", lost("ok lost"), lost("spent", ATTEMPTS)),
    work("brings a retry nearer", too_late("ok late")),
    work("sweeps", old_leftovers),
    work("hears what a handler says", sent("note")),
    work("cannot run the handler", sent("ok"), handler=["/nonexistent"], expect=69),
    work(
        "buries what is too long",
        sent("long", "--", *["x" * 100000] * 2),
        prefix=["prlimit", "--stack=524288"],
    ),
    work("hands back at its end", sent("stop"), options=["-g", "0s"]),
    push("hands over", sent("ok"), sent("ok2", "-A", "2")),
    push("hands over what is delayed", sent("ok", "-d", "1s")),
    push("hands over what was adopted", foreign("ok adopted"), ahead=3),
    pull("takes in", queue),
    pull("takes in what was begun before", half_taken_in(TAKEN_IN)),
    Scenario("pull notes another message", "carry", ["relet", "ok"], judge_relet, [sent("ok", "-A", "2")]),
    operate("qbury", "of a ready job", ["--all"], sent("ok")),
    operate("qbury", "of a delayed job", ["--all", "-r", "why"], sent("ok", "-d", "1h", "-A", "3")),
    operate("qbury", "of a lost job", ["ok lost"], lost("ok lost")),
    operate("qkick", "of a buried job", ["--all"], buried("ok")),
    operate("qkick", "of a delayed job", ["--delayed", "--all"], sent("ok", "-d", "1h")),
    operate("qkick", "of a lost job", ["ok lost"], lost("ok lost")),
    operate("qkick", "of a job sent without sync", ["--all"], buried("ok", "--no-sync", "-A", "3")),
    operate("qdel", "of a ready job", ["-q", "default", "--all"], sent("ok", "-A", "3")),
    operate("qdel", "of a delayed job", ["--state", "delayed"], sent("ok", "-d", "1h")),
    operate("qdel", "of a buried job", ["--state", "buried"], buried("ok", "-A", "3")),
    operate("qdel", "of a lost job", ["ok lost"], lost("ok lost")),
    operate("qdel", "of several jobs", ["-q", "default", "--all"], sent("ok1"), sent("ok2"), sent("ok3")),
    pause("for a time", "--for", "1h"),
    pause("resumes", "--resume"),
    work("ends a pause", paused("2020-01-01T00:00:00Z\n", 10 * 366 * 86400), sent("ok")),
    work("takes a slot", sent("ok", "--resource", "db=1")),
    work("blocks", sent("ok", "--resource", "db=1"), one_slot, prefix=UNTIL_IT_BLOCKS),
    work("takes a token", limited("--rate", "9/s", "db"), sent("ok", "--resource", "db")),
    work("trips a breaker", limited("--breaker", "9,10ms", "db"), sent("trip", "--resource", "db")),
    work("closes a breaker", limited("--breaker", "9,10ms", "--open", "--for", "1ms", "db"), sent("ok", "--resource", "db"), ahead=1),
    work(
        "cannot start its probe",
        limited("--breaker", "9,10ms", "--open", "--for", "1ms", "db"),
        sent("ok", "--resource", "db"),
        ahead=1,
        handler=["/nonexistent"],
        expect=69,
    ),
    limit("sets", ["--jobs", "2"], {"jobs": ("3", "2")}, limited("--jobs", "3", "db")),
    limit("makes", ["--jobs", "2"], {"jobs": (None, "2")}),
    limit("opens a breaker", ["--open"], {"open": (None, "")}),
    limit("closes a breaker", ["--close"], {"window": (None, "1"), "open": ("", None)}, limited("--open", "db")),
    read_only("qlimit", "--json"),
    read_only("qstat"),
    read_only("qstat", "--json"),
    read_only("qcat", "ok plain"),
    read_only("qfsck"),
    repair("of lost options", lost_meta("ok")),
    repair("of a mode", one_that_is(only_readable)),
    repair("of a directory's mode", one_that_is(in_a_closed_directory)),
    repair("of a name", one_that_is(beside_a_foreign_file)),
    repair("of a delay without time", one_that_is(in_delay_without_time)),
    repair("of a copy", one_that_is(copied)),
    repair("of two names", one_that_is(under_two_names)),
    repair("of a lost mark", one_that_is(without_its_mark)),
    repair("of a link", one_that_is(with_a_key_of_others)),
]

KEY = ("--key", "report")
WAITS = (sent("ok1", "-d", "1h"), sent_after("ok2", "ok1"))

# Keys, batches and dependencies.
SCENARIOS += [
    send("with a key", *KEY),
    send("of a member", "--batch", "B"),
    send(
        "of more members",
        *("--batch", "B", "--lines"),
        prepare=[queue, begun("B")],
        payloads=lines(10).splitlines(True),
    ),
    send("of a member with a key", "--batch", "B", *KEY),
    send("of no members", "--batch", "B", "--lines", payloads=()),
    send("after a job", "--after", "ok", prepare=[sent("ok", "-d", "1h")], short=True),
    send("after a job, delayed", "--after", "ok", "-d", "1h", prepare=[sent("ok")]),
    send("after what others wait for", *("--after", "ok1", "--after", "ok2"), prepare=[*WAITS, sent_after("ok3", "ok2")]),
    send("after what is over", "--after", "gone", prepare=[sent("gone"), gone("gone")]),
    send("after a batch", "--after", "B", prepare=[sent("ok", "--batch", "B")]),
    send("after an empty batch", "--after", "B", prepare=[queue, begun("B")]),
    send("after several", *("--after", "ok", "--after", "B"), *KEY, prepare=[sent("ok"), begun("B")]),
    send("of a held key", *KEY, judge=judge_held, prepare=[sent("ok", *KEY)]),
    send("of a held key that is delayed", *KEY, judge=judge_held, prepare=[sent("ok", "-d", "1h", *KEY)]),
    send("of a key whose job was removed", *KEY, prepare=[removed("gone", *KEY)]),
    send("of a key whose queue was removed", *KEY, prepare=[sent_to_a_queue_that_went(*KEY)]),
    send("of a key whose job was set aside", *KEY, prepare=[set_aside("ok", *KEY)]),
    work("finishes a job with a key", sent("ok", *KEY)),
    work("starts a job with a key", sent("ok", *KEY, "--key-until", "start")),
    work("buries a job with a key", sent("bad", *KEY)),
    work("takes a key before it runs", set_aside("ok", *KEY), put_back("ok")),
    work("finishes what others wait for", sent("ok1"), sent_after("ok2", "ok1"), sent_after("ok3", "ok2"), short=True),
    work("passes on", sent("ok1"), sent("ok2", "-p", "90"), sent_after("ok3", "ok1 ok2")),
    work("lets go what is delayed", sent("ok1"), sent_after("ok2", "ok1", "-d", "1s")),
    work("finishes a batch", sent("ok1", "--batch", "B"), sent("ok2", "--batch", "B"), sent("ok3", "--after", "B")),
    work("buries orphans", sent("ok"), sent("gone"), sent_after("orphan", "ok gone"), deleted("gone")),
    work(
        "finishes what a qdel has marked",
        *(sent("ok1", "--batch", "B"), sent_after("ok2", "ok1", "--after", "B")),
        marked_as_deleted("ok1", "B"),
    ),
    work("sweeps links", removed("gone", *KEY, "--batch", "B"), sent("ok", "--after", "B")),
    work("sweeps what was never sent", never_sent("gone", "--batch", "B"), sent("ok", "--after", "B"), ahead=61),
    work("sweeps a mark", sent("gone"), sent_after("ok", "gone"), removed("gone")),
    work("sweeps drafts of keys and batches", queue, order_drafts),
    work("forgets a batch", queue, complete_for_long("B")),
    operate("qbury", "of a job with a key", ["--all"], sent("ok", *KEY)),
    operate("qbury", "of a job that waits", ["ok2"], *WAITS),
    operate("qkick", "of a job with a key", ["--all"], buried("ok", *KEY)),
    operate("qkick", "of a job that waits", ["ok2"], *WAITS),
    operate("qdel", "of a member with a key", ["ok"], sent("ok", "--batch", "B", *KEY)),
    operate("qdel", "of a job that waits", ["ok2"], *WAITS),
    operate("qdel", "of what others wait for", ["ok1"], *WAITS, judge=judge_delete_waited_for, short=True),
    operate(
        "qdel",
        "of a member that others wait for",
        ["ok1"],
        *(sent("ok1", "--batch", "B"), sent("ok2", "--after", "B")),
        judge=judge_delete_waited_for,
    ),
]

# A file system without RENAME_NOREPLACE: link and unlink.
SCENARIOS += [
    scenario.with_standing("by link and unlink", "EINVAL:rename:0")
    for scenario in SCENARIOS
    if scenario.name
    in (
        "qsend of a payload",
        "qsend with options",
        "qsend of a batch",
        "qsend into a queue without statistics",
        "qwork finishes",
        "qwork retries",
        "qwork gives up",
        "qwork recovers",
        "qwork adopts",
        "push hands over what was adopted",
        "pull takes in what was begun before",
        "qwork hands back at its end",
        "qbury of a ready job",
        "qkick of a buried job",
        "qdel of a lost job",
        "qsend with a key",
        "qsend after a job",
        "qwork finishes what others wait for",
    )
]
