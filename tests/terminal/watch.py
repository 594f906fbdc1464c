"""Runs a program whose standard error is a terminal, and prints as JSON what came of it.

usage: watch.py PROGRAM [ARGUMENT …]

{ "code": its exit code, "stdout": what it wrote there, "shown": what stood on the terminal, line by line as it changed }
"""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

ROWS, COLUMNS = 40, 240
# What moves the cursor, clears lines and colours them: ECMA-48, section 5.4.
CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def main():
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    # What it answers is little, and is read when it has ended.
    program = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=its_end, env=environment)
    os.close(its_end)
    seen = bytearray()
    while True:
        try:
            more = os.read(terminal, 1 << 16)
        except OSError:
            # The last one who could write has gone.
            break
        if not more:
            break
        seen += more
    stdout = program.stdout.read().decode()
    lines = re.split(r"[\r\n]+", CONTROL.sub("\n", seen.decode(errors="replace")))
    shown = [line.rstrip() for line in lines if line.strip()]
    print(json.dumps({"code": program.wait(), "stdout": stdout, "shown": shown}))


main()
