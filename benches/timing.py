"""How processes are measured: in turn with their peers, by what the operating system says of the finished process."""

import argparse
import concurrent.futures
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing


class Figures(typing.NamedTuple):
    """What was measured of a command."""

    # Seconds of each run.
    walls: list
    # The highest memory of any run, in MiB.
    peak: float
    # What was counted after each run, if somebody looked.
    seen: list

    @property
    def median(self):
        return statistics.median(self.walls)


def arguments(*lines):
    """The options that all benchmarks have. `lines` are the names of all that can be measured, and of what is if nothing
    is chosen."""
    options = argparse.ArgumentParser()
    options.add_argument("--scale", type=float, default=1)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--bin", default="target/release")
    options.add_argument("--folder", default="/tmp/transload-bench")
    options.add_argument("--only", nargs="+", default=list(lines), choices=lines, help="measure nothing else")
    options.add_argument("--cores", type=int, default=2, help="every process is held to so many cores")
    return options


def begin(options):
    """Holds this process, and with it all that it starts, to its cores. Returns where the programs and the data are."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    folder = pathlib.Path(options.folder) / f"scale-{options.scale:g}"
    folder.mkdir(parents=True, exist_ok=True)
    return pathlib.Path(options.bin).resolve(), folder


def machine():
    """What the figures were measured on."""
    cpu = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {cpu[0] if cpu else platform.machine()}, {memory / 2**30:.0f} GiB, Linux {platform.release()}"


def apart(work, *given):
    """Does work in a process of its own: a child's peak would otherwise begin at this one's."""
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        return pool.submit(work, *given).result()


def measure(command, cwd):
    start = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - start
        if process.returncode not in (0, 5):
            said.seek(0)
            sys.exit(f"{command} failed: {said.read().decode()}")
    return wall, usage.ru_maxrss / 1024


def python(code):
    return [sys.executable, "-c", code]


def ratio(one, other):
    """How many times as long as the other one takes, each of its runs beside the one of the same round."""
    return statistics.median(a / b for a, b in zip(one.walls, other.walls))


def remove_copies(folder):
    shutil.rmtree(folder / "copied", ignore_errors=True)


def race(title, commands, runs, folder, reset=remove_copies, look=None):
    """Runs the commands in turn and prints for each how long it took, its peak, and how the first one compares.

    `reset` is called with the folder before each run, `look` with the folder and the command's name after it: what it
    counts is kept, and of the last run it is printed.
    """
    figures = {name: Figures([], 0.0, []) for name in commands}
    for round in range(runs + 1):
        for name, command in commands.items():
            reset(folder)
            wall, peak = measure(command, folder)
            if round:
                old = figures[name]
                seen = [look(folder, name)] if look else []
                figures[name] = Figures([*old.walls, wall], max(old.peak, peak), old.seen + seen)
    first = next(iter(commands))
    print(title)
    for name, (walls, peak, seen) in figures.items():
        compared = ratio(figures[first], figures[name])
        print(
            f"  {name:22} {statistics.median(walls):7.2f} s  ({min(walls):.2f}–{max(walls):.2f})  {peak:6.0f} MiB"
            f"  {first}/this {compared:.2f}  " + ", ".join(f"{value} {what}" for what, value in (seen or [{}])[-1].items())
        )
    sys.stdout.flush()
    return figures
