"""Where it is measured: a directory on a journalled ext4, the programs, and how one is run and timed."""

import contextlib
import glob
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.abspath(os.environ.get("QSPOOL_BIN", os.path.join(HERE, "../../bin")))
BUILT = os.environ.get("BENCH_BUILT", HERE)
DEADLINE = 600
LINE = "x" * 199 + "\n"


class Place:
    def __init__(self, root):
        self.root = root
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": root,
            "TMPDIR": self.fresh("tmp"),
            "LANG": "C.UTF-8",
        }

    def path(self, name):
        return os.path.join(self.root, name)

    def fresh(self, name):
        """An empty directory; what had the name is gone, and written."""
        path = self.path(name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        self.settle()
        return path

    def settle(self):
        """What was written before is not paid for by what is measured next."""
        subprocess.run(["sync", "-f", self.root], check=True)

    def program(self, name):
        return os.path.join(BUILT, name)

    def lines(self, count):
        """A file of COUNT lines of 200 bytes."""
        path = self.path(f"lines.{count}")
        if not os.path.exists(path):
            with open(path, "w", encoding="ascii") as file:
                file.writelines(LINE for _ in range(count))
        return path

    def start(self, argv, stdin="/dev/null", env=None, stdout=subprocess.DEVNULL):
        with open(stdin, "rb") as source, open(self.path("errors.log"), "ab") as errors:
            return subprocess.Popen(
                argv, stdin=source, stdout=stdout, stderr=errors, env=env or self.env
            )

    def call(self, argv, **kind):
        """What it printed."""
        process = self.start(argv, stdout=subprocess.PIPE, **kind)
        try:
            output = process.communicate(timeout=DEADLINE)[0].decode()
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            raise RuntimeError(
                f"{' '.join(argv[:4])}... ended with {process.returncode}: {self.last_errors()}"
            )
        return output

    def timed(self, argv, **kind):
        """How many seconds it takes."""
        self.settle()
        with open(self.path("output"), "wb") as output:
            begin = time.perf_counter()
            process = self.start(argv, stdout=output, **kind)
            status = process.wait(DEADLINE)
            took = time.perf_counter() - begin
        if status != 0:
            raise RuntimeError(f"{' '.join(argv[:4])}... ended with {status}: {self.last_errors()}")
        return took

    def last_errors(self):
        with open(self.path("errors.log"), encoding="utf-8", errors="replace") as errors:
            return errors.read()[-300:].strip()

    def spawn(self, jobs, count, argv, env=None):
        """How many times a second it runs if it is started COUNT times, with a payload of 200 bytes."""
        argv = [shutil.which(argv[0], path=self.env["PATH"]) or argv[0], *argv[1:]]
        self.settle()
        return float(
            self.call(
                [self.program("spawn"), "-i", self.lines(1), str(jobs), str(count), *argv], env=env
            )
        )


@contextlib.contextmanager
def ended(process):
    """Ends a process that this program started, by its id."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def device_of(path):
    """The mount that holds PATH: device, type of file system, options."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        rows = [line.split() for line in mounts]
    path = os.path.realpath(path)
    under = [row for row in rows if path == row[1] or path.startswith(row[1].rstrip("/") + "/")]
    return max(enumerate(under), key=lambda row: (len(row[1][1]), row[0]))[1]


def journalled(path):
    """Whether it is ext4 with a journal, data=ordered and barriers: what the goals are for."""
    device, _, kind = device_of(path)[:3]
    device = os.path.basename(os.path.realpath(device))
    if kind != "ext4" or not glob.glob(f"/proc/fs/jbd2/{device}-*"):
        return False
    with open(f"/proc/fs/ext4/{device}/options", encoding="utf-8") as options:
        return {"barrier", "data=ordered"} <= set(options.read().split())


def describe(path):
    device, _, kind, options = device_of(path)[:4]
    text = f"{kind} ({options})"
    if kind == "ext4":
        text += (
            ", data=ordered, barriers"
            if journalled(path)
            else ", NOT journalled with data=ordered and barriers"
        )
    return text + (", an image in a file, through a loop device" if "/loop" in device else "")


def machine(path):
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next(
            (line.split(":")[1].strip() for line in info if line.startswith("model name")), "?"
        )
    virtual = (
        shutil.which("systemd-detect-virt")
        and subprocess.run(
            ["systemd-detect-virt", "--vm"], capture_output=True, text=True, check=False
        ).stdout.strip()
    )
    return {
        "processor": f"{model}, {os.cpu_count()} cores"
        + (f", virtual ({virtual})" if virtual not in (None, "", "none") else ""),
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": describe(path),
        "libc": " ".join(platform.libc_ver()),
    }


def make_image(directory, size, files):
    """An ext4 of SIZE bytes in a file that is written already, so that no block of it is allocated meanwhile."""
    image = os.path.join(directory, "disk")
    with open(image, "wb") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
        os.fsync(file.fileno())
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(files), "-E", lazy, image], check=True)
    return image


@contextlib.contextmanager
def scratch():
    """A directory of our own, below $BENCH_DIR or /var/tmp."""
    directory = tempfile.mkdtemp(
        prefix="qspool-bench-", dir=os.environ.get("BENCH_DIR", "/var/tmp")
    )
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def on_journalled_ext4(argv, size, files):
    """If $BENCH_DIR is none and we are root, runs ARGV with one of our own mounted for it alone, and exits; else
    returns the directory to measure in, as a context."""
    with scratch() as directory:
        if journalled(directory) or os.getuid() != 0:
            yield directory
            return
        print(
            f"{directory} is on no journalled ext4: making one of {size >> 30} GB in a file there",
            file=sys.stderr,
        )
        image = make_image(directory, size, files)
        os.mkdir(f"{directory}/disk.d")
        script = 'mount -o loop "$1" "$2" && shift && BENCH_MOUNTED="$1" && export BENCH_MOUNTED && shift && exec "$@"'
        inside = ["unshare", "-m", "sh", "-c", script, "sh", image, f"{directory}/disk.d", *argv]
        with ended(subprocess.Popen(inside)) as process:
            sys.exit(process.wait())
