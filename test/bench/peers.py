"""What users would take instead of qspool: how each is started, fed and ended, and what it promises."""

import contextlib
import glob
import json
import os
import re
import shutil
import socket
import subprocess
import time

from place import ended

# What is kept of a job once it was accepted.
DURABILITY = {
    "qspool": "payload and name synced before the id is printed; a job whose worker dies is run again",
    "qspool --no-sync": "a job may be lost or torn by a power cut; one that is torn is set aside",
    "beanstalkd -f0": "each put synced before it is answered; a job whose worker dies is run again",
    "beanstalkd -f50": "the last 50 ms may be lost by a power cut",
    "redis, synced": "append-only file synced before each answer; a job taken by BLPOP is lost if its worker dies",
    "redis, in memory": "nothing is kept",
    "redis-cli": "append-only file synced before each answer",
    "gearman": "in memory: nothing is kept",
    "nq": "a file a job, never synced; waits in a process of its own",
    "tsp": "in memory: nothing is kept",
    "xargs": "no queue: nothing is kept",
    "GNU parallel": "no queue: nothing is kept",
    "Sidekiq": "in process, in Ruby, 10 threads, as it comes: it logs each job; its redis in memory: nothing is kept",
    "Sidekiq, logging errors": "as Sidekiq, with the level of its own benchmark",
}

# Package of Debian, program, and how it tells its version.
PROGRAMS = {
    "beanstalkd": ("beanstalkd", "beanstalkd -v"),
    "redis": ("redis-server", "redis-server --version"),
    "redis-cli": ("redis-cli", "redis-cli --version"),
    "gearman": ("gearmand", "gearmand --version"),
    "nq": ("nq", "dpkg-query -W -f ${Version} nq"),
    "tsp": ("tsp", "tsp -V"),
    "xargs": ("xargs", "xargs --version"),
    "GNU parallel": ("parallel", "parallel --version"),
    "Sidekiq": ("sidekiq", "sidekiq --version"),
    "nats-server": ("nats-server", "nats-server --version"),
}

DEADLINE = 300  # seconds for one call

SIDEKIQ_JOBS = """
require "sidekiq"
Sidekiq.logger.level = Integer(ENV["LEVEL"])
class Trivial
  include Sidekiq::Worker
  @@lock = Mutex.new
  @@count = 0
  def perform(*)
    @@lock.synchronize do
      @@count += 1
      @@begin ||= Process.clock_gettime(Process::CLOCK_MONOTONIC)
      if @@count == Integer(ENV["COUNT"])
        took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - @@begin
        File.write(ENV["REPORT"] + ".new", "#{@@count / took}")
        File.rename(ENV["REPORT"] + ".new", ENV["REPORT"])
      end
    end
  end
end
"""
SIDEKIQ_FILL = """
Integer(ENV["COUNT"]).times.each_slice(1000) do |slice|
  Sidekiq::Client.push_bulk("class" => "Trivial", "args" => slice.map { |i| ["x" * 200] })
end
"""


def is_there(peer):
    """Whether the peer, or a variant of it such as "redis, synced", can be run here."""
    name = next((name for name in PROGRAMS if peer == name), peer.split(",")[0].split(" -")[0])
    return shutil.which(PROGRAMS[name][0]) is not None


def version(name):
    try:
        done = subprocess.run(
            PROGRAMS[name][1].split(), capture_output=True, text=True, timeout=20, check=False
        )
    except OSError:
        return None
    found = re.search(r"\d+(\.\d+)+[^\s:]*|\b20\d{6}\b", done.stdout + done.stderr)
    return found[0] if found else None


def wait_until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.002)


def answers(address):
    """Whether somebody listens at a path or a (host, port)."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as s:
        return s.connect_ex(address) == 0


@contextlib.contextmanager
def running(place, argv, condition):
    with open(place.path("servers.log"), "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=place.env
        )
    with ended(process):
        wait_until(argv[0], condition)
        yield


@contextlib.contextmanager
def server(place, argv, address):
    with running(place, argv, lambda: answers(address)):
        yield address


def beanstalkd(place, sync_ms):
    directory = place.fresh(f"beanstalkd{sync_ms}")
    path = f"{directory}/socket"
    return server(
        place, ["beanstalkd", "-l", f"unix:{path}", "-b", directory, f"-f{sync_ms}"], path
    )


def redis(place, synced):
    directory = place.fresh("redis-synced" if synced else "redis")
    path = f"{directory}/socket"
    kept = ["--appendonly", "yes", "--appendfsync", "always"] if synced else []
    argv = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        path,
        "--dir",
        directory,
        "--save",
        "",
        *kept,
    ]
    return server(place, argv, path)


def gearmand(place):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    argv = ["gearmand", "-L", "127.0.0.1", "-p", str(port), "--log-file", "none"]
    argv += ["--pid-file", place.path("gearmand.pid")]
    if os.getuid() == 0:
        argv += ["-u", "root"]
    return server(place, argv, ("127.0.0.1", port))


def nats_url(directory):
    """What a server has written there; None before it listens."""
    for path in glob.glob(f"{directory}/*.ports"):
        with contextlib.suppress(ValueError), open(path, encoding="utf-8") as file:
            return json.load(file)["nats"][0]
    return None


@contextlib.contextmanager
def nats(place, directory):
    """One that keeps what it has in DIRECTORY."""
    argv = ["nats-server", "-js", "-sd", directory, "-a", "127.0.0.1", "-p", "-1"]
    with running(place, [*argv, "--ports_file_dir", directory], lambda: nats_url(directory)):
        yield nats_url(directory)


class Server:
    """One that client.c speaks with: for one measurement it is started anew, and is ended."""

    def __init__(self, place, protocol, start):
        self.place, self.protocol, self.start = place, protocol, start

    def client(self, path, *args):
        return [self.place.program("client"), self.protocol, path, *map(str, args)]

    def run(self, jobs, count, *command):
        with self.start() as path:
            self.place.call(self.client(path, "fill", count))
            return count / self.place.timed(self.client(path, "work", jobs, count, *command))

    def fill(self, count):
        with self.start() as path:
            return float(self.place.call(self.client(path, "fill", count)))

    def send(self, jobs, count):
        with self.start() as path:
            return self.place.spawn(jobs, count, self.client(path, "put"))


class Peers:
    """The peers' share of each measurement: all give how many jobs a second."""

    def __init__(self, place):
        self.place = place
        self.servers = {
            "beanstalkd -f0": Server(place, "beanstalkd", lambda: beanstalkd(place, 0)),
            "beanstalkd -f50": Server(place, "beanstalkd", lambda: beanstalkd(place, 50)),
            "redis, synced": Server(place, "redis", lambda: redis(place, True)),
            "redis, in memory": Server(place, "redis", lambda: redis(place, False)),
        }

    def redis_cli(self, count):
        with redis(self.place, True) as path:
            return self.place.spawn(1, count, ["redis-cli", "-s", path, "-x", "RPUSH", "q"])

    def gearman_send(self, count):
        with gearmand(self.place) as (host, port):
            argv = ["gearman", "-h", host, "-p", str(port), "-b", "-f", "job"]
            return self.place.spawn(1, count, argv)

    def gearman_run(self, jobs, count, command):
        with gearmand(self.place) as (host, port):
            base = ["gearman", "-h", host, "-p", str(port), "-f", "job"]
            self.place.call([*base, "-b", "-N"], stdin=self.place.lines(count))
            begin = time.perf_counter()
            share = [count // jobs + (i < count % jobs) for i in range(jobs)]
            workers = [self.place.start([*base, "-w", "-c", str(n), command]) for n in share]
            for worker in workers:
                if worker.wait(DEADLINE) != 0:
                    raise RuntimeError("a worker of gearman failed")
            return count / (time.perf_counter() - begin)

    @contextlib.contextmanager
    def held(self, name, enqueue, **env):
        """A queue whose first job waits until what is yielded is called."""
        directory = self.place.fresh(name)
        os.mkfifo(f"{directory}/hold")
        env = {**self.place.env, **{key: value.format(directory) for key, value in env.items()}}
        hold = ["/bin/sh", "-c", f"exec cat {directory}/hold"]
        self.place.call([*enqueue, *hold], env=env)
        pipe = os.open(f"{directory}/hold", os.O_WRONLY)
        yield env, lambda: os.close(pipe)

    def nq(self, count, command, sending=False):
        with self.held("nq", ["nq"], NQDIR="{}") as (env, go):
            sent = self.place.spawn(1, count, ["nq", command], env=env)
            begin = time.perf_counter()
            go()
            self.place.call(["nq", "-w"], env=env)
            return sent if sending else count / (time.perf_counter() - begin)

    def tsp(self, jobs, count, command, sending=False):
        with self.held("tsp", ["tsp", "-n"], TS_SOCKET="{}/socket", TMPDIR="{}") as (env, go):
            try:
                sent = self.place.spawn(1, count, ["tsp", "-n", command], env=env)
                begin = time.perf_counter()
                self.place.call(["tsp", "-S", str(jobs)], env=env)
                go()
                self.place.call(["tsp", "-w"], env=env)
                return sent if sending else count / (time.perf_counter() - begin)
            finally:
                self.place.call(["tsp", "-K"], env=env)

    def xargs(self, jobs, count, command):
        argv = ["xargs", "-n1", f"-P{jobs}", command]
        return count / self.place.timed(argv, stdin=self.place.lines(count))

    def parallel(self, jobs, count, command):
        argv = ["parallel", "--will-cite", "-j", str(jobs), command]
        return count / self.place.timed(argv, stdin=self.place.lines(count))

    def sidekiq(self, count, level):
        """LEVEL is that of its log: 1 as it comes, 3 for errors."""
        directory = self.place.fresh("sidekiq")
        for name, text in (
            ("jobs.rb", SIDEKIQ_JOBS),
            ("fill.rb", 'require_relative "jobs"\n' + SIDEKIQ_FILL),
        ):
            with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        report = f"{directory}/report"
        with redis(self.place, False) as path:
            env = {**self.place.env, "REDIS_URL": f"unix://{path}", "COUNT": str(count)}
            env |= {"REPORT": report, "LEVEL": str(level)}
            self.place.call(["ruby", f"{directory}/fill.rb"], env=env)
            argv = ["sidekiq", "-c", "10", "-r", f"{directory}/jobs.rb"]
            with ended(self.place.start(argv, env=env)):
                wait_until("Sidekiq", lambda: os.path.exists(report), DEADLINE)
        with open(report, encoding="utf-8") as file:
            return float(file.read())
