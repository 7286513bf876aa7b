"""The system calls of qwork for one job: how many, and what each is for."""

import collections
import re
import subprocess
import time

JOBS = 300
SETTLED = 100  # jobs of the beginning that do not count

# A call without a reason is a failure: somebody added it who must say here what it is for. PATTERN is looked for in the line of strace -y.
REASONS = [
    (
        r"^poll\(\[\{fd=\d+<pipe:.*\], \d+, 0\)",
        "whether something is left on the pipes of those who have ended",
    ),
    (r"^poll|^epoll_p?wait|^ppoll", "sleeps until a child ends, a name appears or a time comes"),
    (
        r"^read\(\d+<[^>]*signalfd",
        "takes the signals that woke it, so that they do not wake it again",
    ),
    (r"^read\(\d+<[^>]*timerfd", "takes the timer's expiry, so that it does not wake it again"),
    (r"^read\(\d+<[^>]*inotify", "takes the events of the queue's directories"),
    (r"^waitid", "which child has ended, while its id is still its own"),
    (r"^wait4", "takes its status, and its times and memory for the log"),
    (
        r"^openat\(.*/(new|delay)>",
        "T3 1: the descriptor that is locked and becomes the handler's input",
    ),
    (r"^flock\(.*LOCK_EX", "T3 2: the lock that is the job's lease (LOCK, LEASE)"),
    (r"^flock\(.*LOCK_UN", "UNLOCK: what the handler left behind holds nothing"),
    (
        r"^(newfstatat|fstat|statx)\(.*/(new|delay)/[^>]*>, \"\"",
        "T3 1: a regular file only; its inode for CHECK, its links for TWINS",
    ),
    (
        r"^(newfstatat|fstat|statx)\(.*/(new|delay)>, \"",
        "CHECK: the name still leads to what was locked",
    ),
    (
        r"^(newfstatat|fstat|statx)\(.*/cur/",
        "T5: its links, which tell whether others wait for the job",
    ),
    (r"^(newfstatat|statx)\(.*\"stats\"", "Statistics: the file is still the one that is mapped"),
    (r"^renameat2\(.*/cur>", "T3 5: the claim, which counts the attempt (COUNT)"),
    (r"^unlinkat\(.*/cur>", "T5 1: the job is finished"),
    (
        r"^(pipe2|fcntl|close|read)\(.*<pipe:",
        "the pipe on which the handler's messages for the log come",
    ),
    (r"^pread64\(\d+</proc/\d+/oom_score_adj>", "qwork's own score, which somebody may have changed"),
    (
        r"^write\(\d+</proc/\d+/oom_score_adj>",
        "the score that children inherit, so that the OOM killer takes them first; then qwork's own",
    ),
    (r"^pipe2", "the pipe on which the handler's messages for the log come"),
    (r"^(vfork|clone3?)\(", "the child process"),
    (r"^close\(.*/(cur|new)/", "the job's descriptor, which frees its blocks: by a thread"),
    (r"^futex", "between that thread and the one that gives it what to close"),
    (
        r"^(newfstatat|fstat|statx)\(\d+<[^>]*qspool-\d+>, \"\"",
        "whether any handler may have said something in $QJOB_CONTROL",
    ),
    (r"^openat\(.*qspool-", "what the handler said in $QJOB_CONTROL"),
    (
        r"^(kill|tgkill|pidfd_open|pidfd_send_signal)\(",
        "ends what is left of the handler's process group",
    ),
    (r"^timerfd_settime", "the time at which it is to wake next"),
    (r"^write\(2<", "the log"),
]


def reason_of(line):
    return next((reason for pattern, reason in REASONS if re.search(pattern, line)), None)


def trace(place, jobs):
    """The lines of a qwork with JOBS in flight, those of its children aside, from one claim to one much later, both inclusive of
    one end."""
    spool = place.spool(JOBS)
    path = place.path("trace")
    strace = ["strace", "-f", "-b", "execve", "-y", "-o", path]
    place.call([*strace, *place.qwork(spool, "-j", jobs, "--drain", "--", "/bin/true")])
    with open(path, encoding="utf-8", errors="replace") as file:
        rows = [re.match(r"(\d+) +([a-z].*)", line) for line in file]
    rows = [row.groups() for row in rows if row][1:]  # its own execve
    children = {pid for pid, line in rows if line.startswith("execve(")}
    lines = [line for pid, line in rows if pid not in children]
    claims = [
        i for i, line in enumerate(lines) if line.startswith("renameat2(") and "/cur>" in line
    ]
    first, last = claims[SETTLED], claims[-SETTLED // 2]
    return lines[first:last], len(claims) - SETTLED - SETTLED // 2


def count(place, jobs):
    """[(calls a job, call, reason or None)], the most frequent first."""
    lines, of = trace(place, jobs)
    counts = collections.Counter((line.split("(")[0], reason_of(line)) for line in lines)
    return [(number / of, call, reason) for (call, reason), number in counts.most_common()]


def made_by(place, pid, seconds):
    """Its system calls in SECONDS, but the one that it was in: [(seconds since the beginning, line)]."""
    path = place.path("trace")
    argv = ["strace", "-f", "-ttt", "-o", path, "-p", str(pid)]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as strace:
        while "attached" not in strace.stderr.readline():
            if strace.poll() is not None:
                raise RuntimeError("strace cannot attach")
        begin = time.time() + 0.5  # attaching interrupts what it is in, which is then made again
        time.sleep(seconds + 0.5)
        strace.terminate()
        strace.communicate()
    with open(path, encoding="utf-8") as file:
        rows = [re.match(r"\d+ +([\d.]+) (.*)", line) for line in file]
    rows = [(float(row[1]) - begin, row[2]) for row in rows if row and "detached" not in row[2]]
    return [(at, call) for at, call in rows if at > 0]
