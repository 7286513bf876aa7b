#!/usr/bin/env python3
"""The fault sweep: each change that a tool makes to a spool fails, or is the last thing
that the tool does, in turn; then what is left is judged.

An undisturbed run of each scenario (scenarios.py) counts its calls. Then there is a run for
each call and each of: killed before it, killed after it, EIO, ENOSPC, EINTR, a short
write; and for what a tool does after a failure, a second fault there. Afterwards qfsck
must find the spool sound, the tool must have told the truth, and what an undisturbed
qwork does then must bring all jobs to their end.
"""

import argparse
import concurrent.futures
import errno
import fnmatch
import functools
import glob
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the sources may be read-only
import scenarios
import spooldir

HERE = os.path.dirname(os.path.abspath(__file__))
DEADLINE = 30  # seconds for any tool; a tool that needs more hangs
KILLS = ("kill-before", "kill-after")
ERRORS = ("EIO", "ENOSPC", "EINTR")
SECOND = ("EIO", "kill-before")
CALLS_AFTER = 6  # so many calls after a failure get a second fault
BATCH = 200  # so many runs have their spools at the same time


class Prepared:
    """A scenario, its spool, and what its undisturbed run is like."""

    def __init__(self, sweep, scenario):
        self.scenario = scenario
        directory = tempfile.mkdtemp(prefix="template.", dir=sweep.directory)
        self.template = scenarios.Template(directory, sweep.tools)
        for prepare in scenario.prepare:
            prepare(self.template)
        self.jobs = spooldir.jobs(self.template.spool)
        self.left = spooldir.leftovers(self.template.spool)
        self.open_at_end = None
        run = Run(sweep, self, [])
        self.broken = run.judge()
        self.open_at_end = run.open_at_end
        self.calls = run.calls

    def faults(self):
        """One fault for each of the calls and each way in which it can go wrong."""
        for k, call in enumerate(self.calls, 1):
            if self.scenario.calls and call.call not in self.scenario.calls:
                continue
            for action in KILLS + ERRORS + (("short",) if call.call == "write" else ()):
                yield [f"{action}:any:{k}"]


class Run:
    """One run of a scenario's command in a spool of its own, and what it left."""

    def __init__(self, sweep, prepared, faults):
        self.sweep = sweep
        self.prepared = prepared
        self.scenario = prepared.scenario
        self.faults = faults
        self.sent = prepared.template.jobs
        self.jobs_before = prepared.jobs
        self.directory = tempfile.mkdtemp(prefix="run.", dir=sweep.directory)
        self.spool = os.path.join(self.directory, "spool")
        self.starts = os.path.join(self.directory, "starts")
        if os.path.exists(prepared.template.spool):
            subprocess.run(["cp", "-a", prepared.template.spool, self.spool], check=True)
        self.broken = []

    def command(self):
        """A payload's text stands for its job's id."""
        tool, *arguments = self.scenario.command
        words = {"STARTS": self.starts, **self.sent}
        tool = [os.path.join(self.sweep.hooked, tool), "-s", self.spool]
        return self.scenario.prefix + tool + [words.get(word, word) for word in arguments]

    def clock(self):
        """What sets the tools' clock ahead."""
        if not self.scenario.ahead:
            return {}
        path = os.path.join(self.directory, "clock")
        with open(path, "w", encoding="ascii") as file:
            file.write(str(1000 * self.scenario.ahead))
        return {"LD_PRELOAD": self.sweep.clock, "FAKE_CLOCK": path}

    def execute(self, command, stdin=b"", **environment):
        """Its status (None: it hangs), standard output and error."""
        paths = [os.path.join(self.directory, name) for name in ("in", "out", "err")]
        environment = {**os.environ, **self.clock(), "TMPDIR": self.directory, **environment}
        with open(paths[0], "wb") as file:
            file.write(stdin)
        with open(paths[0], "rb") as given, open(paths[1], "wb") as out, open(paths[2], "wb") as err:
            with subprocess.Popen(
                command, stdin=given, stdout=out, stderr=err, env=environment
            ) as process:
                try:
                    status = process.wait(DEADLINE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    status = None
                    self.broken.append(f"{os.path.basename(command[0])} hangs")
        return [status] + [spooldir.read(path).decode(errors="replace") for path in paths[1:]]

    def disturb(self):
        log = os.path.join(self.directory, "log")
        environment = {"QSPOOL_FAULT_LOG": log}
        environment["QSPOOL_FAULT"] = ",".join(self.faults + self.scenario.standing)
        if self.sweep.source:
            environment["QSPOOL_FAULT_SITES"] = "1"
        self.status, self.stdout, self.stderr = self.execute(
            self.command(), self.scenario.stdin, **environment
        )
        self.calls, self.open_at_end = spooldir.read_log(log)
        self.disk = spooldir.Disk(
            self.calls,
            {job.id: self.spool + job.path.removeprefix(self.prepared.template.spool) for job in self.jobs_before},
        )

    @property
    def struck(self):
        """The calls that were disturbed; those of the standing fault aside."""
        return [call for call in self.calls if call.struck and call.error != errno.EINVAL]

    @property
    def killed(self):
        return any(call.done in KILLS for call in self.calls)

    @property
    def failed(self):
        """Those of them that did: a write goes on, and a closed file is closed."""
        return [
            call
            for call in self.struck
            if call.done == "fail" and (call.error != errno.EINTR or call.call not in ("write", "close"))
        ]

    @property
    def failures(self):
        """Those of them that matter: what is only counted may be lost."""
        return [call for call in self.failed if not spooldir.STATISTICS.search(call.path)]

    @property
    def cannot_remove(self):
        return any(call.call in ("unlink", "rmdir") for call in self.failed)

    def look(self):
        self.jobs = spooldir.jobs(self.spool)
        self.left = spooldir.leftovers(self.spool)

    def check_sound(self):
        qfsck = os.path.join(self.sweep.tools, "qfsck")
        if not os.path.exists(self.spool) or not self.scenario.sound:
            return
        repairs = self.scenario.judge is scenarios.judge_repair
        options = ["--repair"] if repairs and self.status != 0 else []
        status, out, err = self.execute([qfsck, "-s", self.spool, *options])
        if status != 0:
            self.broken.append(f"qfsck exits {status}: {out.strip()} {err.strip()}")

    def work(self):
        """An undisturbed qwork does all that there is to do; what was left over is old."""
        spooldir.age_leftovers(self.spool)
        command = self.scenario.prefix + [os.path.join(self.sweep.tools, "qwork")]
        command += ["-s", self.spool, "--drain=all"]
        command += ["-A", str(scenarios.ATTEMPTS), "-b", "1ms..1ms"]
        command += ["--", "sh", "-c", scenarios.HANDLER, "sh", self.starts]
        status, _, err = self.execute(command)
        self.look()
        if status != 0:
            self.broken.append(f"an undisturbed qwork exits {status}: {err}")

    def go_on(self):
        """How it ends once nothing is disturbed any more."""
        works = self.scenario.judge is scenarios.judge_work
        if not works and os.path.isdir(os.path.join(self.spool, "default")):
            open(os.path.join(self.spool, "default/paused"), "wb").close()
        self.work()
        if self.left:  # of a job that was still there
            self.work()
        if works:
            self.broken += scenarios.judge_end(self)
        self.broken += scenarios.judge_left(self)

    def judge(self):
        self.disturb()
        self.look()
        if self.faults and not self.struck:
            self.broken.append("the fault did not strike")
        self.broken += self.scenario.judge(self)
        self.check_sound()
        if self.scenario.judge is not scenarios.judge_reader:
            self.go_on()
        if not self.sweep.keep:
            shutil.rmtree(self.directory)
        return self.broken

    @property
    def left_over(self):
        """What is left and was not there before."""
        return [name for name in self.left if name not in self.prepared.left]

    def second_faults(self):
        """What the tool does after a failure can fail, too."""
        if len(self.faults) == 1 and self.faults[0].startswith("EIO:"):
            k = int(self.faults[0].rpartition(":")[2])
            last = min(k + CALLS_AFTER, len(self.calls))
            for second, action in itertools.product(range(k + 1, last + 1), SECOND):
                yield self.faults + [f"{action}:any:{second}"]


class Sweep:
    def __init__(self, options, directory):
        self.tools = options.tools
        self.hooked = options.hooked
        self.source = options.source
        self.keep = options.fault is not None
        self.directory = directory
        self.pool = concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1))
        self.runs = 0
        self.broken = 0
        self.addresses = {}  # tool -> of its calls

    @functools.cached_property
    def clock(self):
        path = os.path.join(self.directory, "clock.so")
        source = os.path.join(HERE, "../cli/clock.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", path, source], check=True)
        return path

    def report(self, prepared, faults, broken):
        self.broken += len(broken)
        script = shlex.join([os.path.relpath(__file__), "--only", prepared.scenario.name])
        for promise in broken:
            print(f"BROKEN: {prepared.scenario.name}: {promise}")
        if broken:
            print(f"    {script} --fault {','.join(faults) or 'none'}", flush=True)

    def note_addresses(self, run):
        addresses = self.addresses.setdefault(run.scenario.command[0], set())
        for call in run.calls:
            addresses.update(call.sites)

    def try_all(self, prepared, plan):
        """Makes these runs and those that follow from them, some at a time."""
        plan = list(plan)
        while plan:
            now, plan = plan[:BATCH], plan[BATCH:]
            runs = [Run(self, prepared, faults) for faults in now]
            for run, broken in zip(runs, self.pool.map(Run.judge, runs)):
                self.runs += 1
                self.report(prepared, run.faults, broken)
                self.note_addresses(run)
                plan += run.second_faults()

    def scenario(self, scenario, short):
        start = time.monotonic()
        runs = self.runs
        prepared = Prepared(self, scenario)
        self.report(prepared, [], prepared.broken)
        plan = prepared.faults()
        if short:
            plan = (faults for faults in plan if "EINTR" not in faults[0])
        self.try_all(prepared, plan)
        print(
            f"{scenario.name}: {len(prepared.calls)} calls, {self.runs - runs} runs,"
            f" {time.monotonic() - start:.1f} s",
            flush=True,
        )

    def one(self, scenario, faults):
        """Shows one run, and keeps what it left."""
        prepared = Prepared(self, scenario)
        run = Run(self, prepared, faults)
        run.judge()
        for call in run.calls:
            print(f"{call.call:10} {call.done:11} {call.error and errno.errorcode[call.error] or '':8} {call.path}")
        print(f"exit status {run.status}\n{run.stdout}{run.stderr}")
        self.report(prepared, faults, run.broken)

    # Where in the sources the calls came from.

    def reached(self):
        lines = set()
        for tool, addresses in self.addresses.items():
            done = subprocess.run(
                ["addr2line", "-e", os.path.join(self.hooked, tool)],
                input="\n".join(sorted(addresses)),
                capture_output=True,
                text=True,
                check=True,
            )
            lines.update(re.findall(r"/(lib/\S+:\d+)", done.stdout))
        return lines

    def call_sites(self):
        call = re.compile(
            r"\bsys_(create|append|write|fsync|syncfs|close|link|rename|rename_dir|replace|unlink|mkdir|rmdir)\("
        )
        for path in sorted(glob.glob(os.path.join(self.source, "lib/*/*.c"))):
            if "/lib/sys/" in path:
                continue
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    for _ in call.finditer(line):
                        yield f"{os.path.relpath(path, self.source)}:{number}"

    def check_sites(self):
        reached = self.reached()
        sites = list(self.call_sites())
        missing = [site for site in sites if site not in reached]
        for site in missing:
            print(f"BROKEN: no run reached the call at {site}")
        self.broken += len(missing)
        return f"{len(sites) - len(missing)} of {len(sites)} call sites reached, "


def parse():
    bin_dir = os.environ.get("QSPOOL_BIN", os.path.join(HERE, "../../bin"))
    parser = argparse.ArgumentParser(description="The fault sweep.")
    parser.add_argument("--tools", default=bin_dir, help="the undisturbed tools (%(default)s)")
    parser.add_argument("--hooked", help="the hooked ones (beside them, in ../test/crash/tools)")
    parser.add_argument("--source", help="checks that all call sites in DIR/lib are reached")
    parser.add_argument("--short", action="store_true", help="a minute's worth of it")
    parser.add_argument("--only", metavar="NAME", help="this scenario, or those of a pattern")
    parser.add_argument("--fault", help="and of it this run, such as EIO:any:7; none for none")
    options = parser.parse_args()
    options.hooked = options.hooked or os.path.join(options.tools, "../test/crash/tools")
    return options


def chosen(options):
    if options.only:
        return [s for s in scenarios.SCENARIOS if fnmatch.fnmatch(s.name, options.only)]
    return [scenario for scenario in scenarios.SCENARIOS if scenario.short or not options.short]


def main():
    options = parse()
    start = time.monotonic()
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = tempfile.mkdtemp(prefix="faults.", dir=os.environ.get("TMPDIR", place))
    sweep = Sweep(options, directory)
    names = chosen(options)
    if not names:
        sys.exit(f"no scenario {options.only}; there are: " + ", ".join(s.name for s in scenarios.SCENARIOS))
    if options.fault:
        sweep.one(names[0], [] if options.fault == "none" else options.fault.split(","))
        print(f"what is left: {directory}")
    try:
        for scenario in [] if options.fault else names:
            sweep.scenario(scenario, options.short)
    finally:
        if not options.fault:
            shutil.rmtree(directory, ignore_errors=True)
    sites = sweep.check_sites() if options.source else ""
    print(
        f"faults: {len(names)} scenarios, {sites}{sweep.runs} runs,"
        f" {sweep.broken} broken promises, {time.monotonic() - start:.0f} s"
    )
    sys.exit(sweep.broken > 0)


if __name__ == "__main__":
    main()
