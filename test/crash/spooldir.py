"""What a spool holds, and, from what the hook logged, what of it is on disk.

Reads names and files as spool-layout.md says they are, with no code of qspool's, so
that a mistake there is not repeated here.
"""

import collections
import os
import re

STATES = ("new", "delay", "cur", "buried", "done")
NAME = re.compile(
    r"^(?:\d{8}T\d{6}\.\d{3}Z\.)?\d\d\.(?P<id>[0-9a-hjkmnp-tv-z]{20})\.(?P<attempts>\d+)"
    r"(?P<marks>(?:,[^.@]*)*)(?P<queue>@[\w.-]+)?$"
)

STATISTICS = re.compile(r"/(?:tmp/stats-[0-9a-f]{8}|stats)$")
LINK = re.compile(r"^(?P<id>[0-9a-hjkmnp-tv-z]{20})@[\w.-]+$")  # of a key, a batch

Job = collections.namedtuple("Job", "state name id attempts marks content path")


def job_id(name):
    match = NAME.match(name)
    return match["id"] if match else None


def read(path):
    with open(path, "rb") as file:
        return file.read()


def listdir(*path):
    """Sorted; a directory that is not there is empty."""
    try:
        return sorted(os.listdir(os.path.join(*path)))
    except FileNotFoundError:
        return []


def line(*path):
    """What a file says in one line, or None."""
    try:
        return read(os.path.join(*path)).decode().removesuffix("\n")
    except FileNotFoundError:
        return None


def queues(spool):
    if not os.path.isdir(spool):
        return []
    return [
        entry.path
        for entry in os.scandir(spool)
        if entry.is_dir() and not entry.name.startswith(".")
    ]


def job(state, path):
    match = NAME.match(os.path.basename(path))
    return Job(
        state,
        os.path.basename(path),
        match and match["id"],
        match and int(match["attempts"]),
        match["marks"].split(",")[1:] if match else [],
        read(path),
        path,
    )


def waiting(spool):
    """Paths of the jobs that wait for others."""
    top = os.path.join(spool, ".wait")
    for what in listdir(top):
        for name in listdir(top, what):
            if not name.startswith("."):
                yield os.path.join(top, what, name)


def jobs(spool):
    """All names in the state directories, foreign ones too (their id is None)."""
    found = [job("wait", path) for path in waiting(spool)]
    for queue in queues(spool):
        for state in STATES:
            for name in listdir(queue, state):
                found.append(job(state, os.path.join(queue, state, name)))
    return found


def links(spool):
    """Paths, relative to the spool, of the links of keys and batches, and of what they are in."""
    for top in (".key", ".batch"):
        for directory, names, files in os.walk(os.path.join(spool, top)):
            for name in names + files:
                yield os.path.relpath(os.path.join(directory, name), spool)


def order_leftovers(spool, alive):
    """Drafts, links of jobs that are no more, and what nobody waits in."""
    left = []
    for path in links(spool):
        link = LINK.match(os.path.basename(path))
        if "/.draft-" in path or (link and link["id"] not in alive):
            left.append(path)
    for what in listdir(spool, ".wait"):
        known = what in alive or os.path.isdir(os.path.join(spool, ".batch", what))
        if listdir(spool, ".wait", what) in ([], [".job"]) and not known:
            left.append(f".wait/{what}")
    return left


def leftovers(spool):
    """What belongs to no job: drafts, links, and options and history of none."""
    alive = {job.id for job in jobs(spool)}
    left = order_leftovers(spool, alive)
    left += [name for name in listdir(spool) if name.startswith(".draft-")]
    for queue in queues(spool):
        left += ["tmp/" + name for name in listdir(queue, "tmp")]
        for kind in ("meta", "log", "out"):
            left += [kind + "/" + name for name in listdir(queue, kind) if name not in alive]
    return left


def age_leftovers(spool, seconds=7200):
    """Lets the sweep take everything that it may take."""
    paths = [os.path.join(spool, path) for path in links(spool) if "/.draft-" in path]
    for queue in queues(spool):
        for kind in ("tmp", "meta", "log", "out"):
            paths += [os.path.join(queue, kind, name) for name in listdir(queue, kind)]
    for path in paths:
        then = os.stat(path).st_mtime - seconds
        os.utime(path, (then, then))


class Call(collections.namedtuple("Call", "pid call done error sites path")):
    """A line of the hook's log. done: made, short, stop, fail, skip, late, kill-before, kill-after."""

    @property
    def took_effect(self):
        return self.error == 0 and self.done in ("made", "short", "stop", "kill-after")

    @property
    def struck(self):
        return self.done != "made"


def read_log(path):
    """The calls, and how many descriptors were open at the end (None: it was killed)."""
    calls, open_at_end = [], None
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file.read().splitlines():
                pid, call, done, error, sites, where = line.split("\t", 5)
                if call == "exit":
                    open_at_end = int(error)
                else:
                    calls.append(Call(int(pid), call, done, int(error), sites.split(), where))
    return calls, open_at_end


class Disk:
    """Replays a log: which files have content, and which names, that a power cut may take.

    A file is clean once it was synced after its last change, by fsync or syncfs. A new name
    waits for the sync of its directory; a moved one for that of the source, then that of
    the target (SOURCE-THEN-TARGET). What a sync failed for, no later one saves (ONCE).
    """

    def __init__(self, calls, places):
        self.places = dict(places)  # id -> path of the payload
        self.dirty = set()  # paths of files
        self.names = {}  # path -> directories still to be synced, in this order
        self.lost = set()  # files and names that a sync failed for
        self.too_early = set()  # ids of those renamed while dirty
        self.synced = set()  # directories
        self.removed_in = set()  # directories that lost a name and were not synced since
        for call in calls:
            if call.took_effect:
                self.replay(call.call, call.path)
            elif call.done == "fail":
                self.fail(call.call, call.path)

    def fail(self, call, path):
        if call == "fsync-file":
            self.lost.add(path)
        elif call == "fsync-dir":
            self.lost.update(name for name, waits in self.names.items() if path in waits)
        elif call == "syncfs":
            self.lost.update(self.dirty, self.names)

    def replay(self, call, path):
        directory = os.path.dirname(path)
        if call == "create":
            self.names[path] = [directory]
            self.dirty.add(path)
            if os.path.basename(directory) == "tmp":
                self.places[os.path.basename(path)] = path
        elif call == "write":
            self.dirty.add(path)
        elif call == "mkdir":
            self.names[path] = [directory]
        elif call == "fsync-file" and path not in self.lost:
            self.dirty.discard(path)
        elif call == "syncfs":
            self.dirty &= self.lost
            self.names = {name: waits for name, waits in self.names.items() if name in self.lost}
        elif call == "fsync-dir":
            self.synced.add(path)
            self.removed_in.discard(path)
            for name, waits in self.names.items():
                if waits and waits[0] == path and name not in self.lost:
                    waits.pop(0)
        elif call in ("rename", "replace", "link"):
            self.rename(path)
        elif call == "unlink":
            self.unlink(path)
        elif call == "rmdir":
            self.names.pop(path, None)

    def rename(self, target):
        identity = job_id(os.path.basename(target))
        source = self.places.get(identity)
        directory = os.path.dirname(target)
        if source is None:  # a queue, made aside, or a foreign file
            self.names[target] = [directory]
        else:
            if source in self.dirty:
                self.too_early.add(identity)
                self.dirty.discard(source)
                self.dirty.add(target)
            self.names.pop(source, None)
            sources = [os.path.dirname(source)]
            if os.path.basename(sources[0]) == "tmp" and "/.wait/" not in target:
                sources = []  # rule SOURCE-THEN-TARGET: a name that comes back there is swept
            self.names[target] = list(dict.fromkeys(sources + [directory]))
            self.places[identity] = target

    def unlink(self, path):
        self.removed_in.add(os.path.dirname(path))
        self.dirty.discard(path)
        self.names.pop(path, None)
        identity = job_id(os.path.basename(path))
        if identity and self.places.get(identity) == path:  # else it has another name now
            self.names[path] = [os.path.dirname(path)]

    def undurable(self, identity):
        """Why a power cut may take this job, its options or its history: a list."""
        why = []
        if identity in self.too_early:
            why.append("renamed before its content was synced")
        why += [f"{path} is not synced" for path in self.dirty if identity in path]
        for path, waits in self.names.items():
            if waits and (identity in path or os.path.isdir(path)):
                why.append(f"the name {path} waits for a sync of {waits[0]}")
        return why
