"""Puts a folder's files into the bucket: put_in_parts.py FOLDER PREFIX [COMMAND …]

With a command, it runs at the same time, and both have ended when this ends.
"""

import pathlib
import subprocess
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from bucket import Bucket

folder, prefix, *command = sys.argv[1:]
beside = subprocess.Popen(command, stdout=subprocess.DEVNULL) if command else None
Bucket().put_in_parts(folder, prefix)
if beside and beside.wait():
    sys.exit(f"{command} failed")
