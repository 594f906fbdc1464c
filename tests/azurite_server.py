"""Microsoft's emulator of Azure Blob Storage for the tests: Azurite, on a free port of this machine.

usage: azurite_server.py AZURITE_BLOB FOLDER

Prints one line of JSON once it answers, and serves for as long as standard input is open: whoever starts it keeps the
other end, so that it ends with the tests, however they end.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ACCOUNT, KEY = "transloadtests", base64.b64encode(b"s3cr3t-of-the-transload-tests").decode()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def start(azurite, folder):
    port = free_port()
    with open(os.path.join(folder, "log"), "w") as log:
        server = subprocess.Popen(
            [azurite, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", folder,
             "--blobHost", "127.0.0.1", "--blobPort", str(port)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
        )
    return server, f"http://127.0.0.1:{port}/{ACCOUNT}"


def answers(endpoint):
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        local.open(endpoint, timeout=2)
    except urllib.error.HTTPError:
        # It refuses what is not signed, so it is there.
        return True
    except (urllib.error.URLError, OSError):
        return False
    return True


def main():
    azurite, folder = sys.argv[1:]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    server, endpoint = start(azurite, folder)
    try:
        for _ in range(600):
            if server.poll() is not None or answers(endpoint):
                break
            time.sleep(0.1)
        if server.poll() is not None or not answers(endpoint):
            with open(os.path.join(folder, "log")) as log:
                sys.exit("Azurite does not answer:\n" + log.read()[-4000:])
        print(json.dumps({"endpoint": endpoint, "account": ACCOUNT, "key": KEY}), flush=True)
        sys.stdin.read()
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
