"""Walks through a page of documentation: does what it says and compares what comes of it with what it shows.

usage: walk.py PROGRAM PAGE FOLDER [--update] [WRITTEN=REAL ...]

In the folder, `transload` is PROGRAM, and `duckdb` that of `tests/requirements.txt`. Where the page has WRITTEN, such as the
address of a server, the commands get REAL, and where they print REAL, the page shows WRITTEN. Of the page's fenced blocks

    sh           are commands, one a line; a comment behind two blanks is left out, and RUN is the newest run. `cargo run … --`
                 is the program; other commands of cargo are not for a reader's folder and are left out
    text         right behind such a block is what its commands print: standard error, then standard output, of each
    text         that begins with `$ ` has the commands in it; they go on from where the ones before stopped
    LANG NAME    is a file: it is written to NAME

and all others are only shown. A command that fails is a mistake, unless the page shows what it prints. Names of runs, times,
digests, fingerprints, snapshots and numbers of bytes are others each time. `…` stands for anything in a line, and alone for
any lines. Prints what is not so, and ends with 1; with --update it writes what is so into the page.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MASKS = [
    (r"\d{8}T\d{6}Z-[0-9a-f]{8}(-[0-9a-f]{8})?", "RUN"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"(xxh64|sha256):(\d+):[0-9a-f:]+", r"DIGEST OF \2"),
    (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{16}\b", "HASH"),
    (r"\b\d+ bytes", "N bytes"),
    (r'"duration_micros":\d+', '"duration_micros":N'),
    (r"\b[0-9A-F]{8}-[0-9A-F]{8}-\d+ at [0-9A-F]+/[0-9A-F]+", "SNAPSHOT"),
]


class Walk:
    def __init__(self, program, folder, real):
        self.folder, self.real, self.code, self.mistakes = folder, real, 0, []
        tools = folder / ".tools"
        tools.mkdir()
        (tools / "transload").symlink_to(program)
        (tools / "duckdb").symlink_to(Path(sys.executable).with_name("duckdb"))
        self.environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    def command(self, line):
        """Runs a command and returns what it prints; None if it is not for a reader's folder."""
        line = re.split(r"\s{2,}#", line)[0].strip()
        line = re.sub(r"^cargo run [^\n]*?-- ", "transload ", line)
        if not line or line.startswith(("#", "cargo ")):
            return None
        if line == "echo $?":
            return f"{self.code}\n"
        if re.search(r"\bRUN\b", line):
            line = re.sub(r"\bRUN\b", self.newest_run(), line)
        for written, real in self.real:
            line = line.replace(written, real)
        done = self.run(line)
        self.code = done.returncode
        # A slow machine is told how a run goes while it goes.
        talk = [l for l in done.stderr.splitlines(keepends=True) if not l.startswith('{"event":"progress"')]
        said = "".join(talk) + done.stdout
        for written, real in self.real:
            said = said.replace(real, written)
        return said

    def run(self, line):
        return subprocess.run(["sh", "-c", line], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)

    def newest_run(self):
        return json.loads(self.run("transload runs --format json").stdout)["runs"][0]["run_id"]

    def commands(self, text, is_shown):
        printed = ""
        for line in text.splitlines():
            said = self.command(line)
            if said is None:
                continue
            printed += said
            if self.code and not is_shown:
                self.mistakes.append(f"`{line}` ended with {self.code}:\n{said}")
        return printed

    def transcript(self, text):
        """What a terminal shows of the commands in a text, which begin with `$ `."""
        printed = ""
        for line in text.splitlines():
            if line.startswith("$ "):
                printed += f"{line}\n{self.command(line[2:]) or ''}"
        return printed

    def page(self, text):
        """Walks through a page, and returns it with what really comes of its commands."""
        blocks = list(FENCE.finditer(text))
        printed, real, at = None, "", 0
        for number, block in enumerate(blocks):
            info, content = block[1].split(), block[2]
            after = blocks[number + 1] if number + 1 < len(blocks) else None
            is_shown = after is not None and after[1].strip() == "text" and not after[2].startswith("$ ")
            expected = None
            if info == ["sh"]:
                printed = self.commands(content, is_shown)
            elif info == ["text"] and content.startswith("$ "):
                expected, printed = self.transcript(content), None
            elif info == ["text"] and printed is not None:
                expected, printed = printed, None
            else:
                printed = None
                if len(info) == 2:
                    file = self.folder / info[1]
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(content)
            if expected is not None and not is_like(expected, content):
                line = text.count("\n", 0, block.start()) + 1
                self.mistakes.append(f"line {line} shows\n{content}\nand this is so:\n{expected}")
                real += text[at:block.start(2)] + expected
                at = block.end(2)
        return real + text[at:]


def is_like(printed, shown):
    """Whether what was printed is what is shown, but for what is another each time."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
        for line in masked(shown).splitlines())
    return re.fullmatch(pattern, masked(printed)) is not None


def masked(text):
    for what, name in MASKS:
        text = re.sub(what, name, text)
    # Nobody sees blanks at the end of a line.
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def main():
    program, page, folder = (Path(path).resolve() for path in sys.argv[1:4])
    real = [argument.split("=", 1) for argument in sys.argv[4:] if argument != "--update"]
    walk = Walk(program, folder, real)
    shown = walk.page(page.read_text())
    if "--update" in sys.argv:
        page.write_text(shown)
        return
    if walk.mistakes:
        sys.exit(f"{page.name} is not what happens:\n" + "\n".join(walk.mistakes))


main()
