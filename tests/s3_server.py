"""A real S3 server for the tests: SeaweedFS, on free ports of this machine.

usage: s3_server.py WEED FOLDER

Prints one line of JSON once it answers, and serves for as long as standard input is open: whoever starts it keeps the
other end, so that it ends with the tests, however they end.
"""

import glob
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

KEY, SECRET = "TRANSLOADTESTKEY", "s3cr3t-of-the-transload-tests"
SERVICES = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
            "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]


def free_ports(count):
    """So many ports in a row that nobody listens on."""
    while True:
        first = random.randrange(20000, 32000)
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
            return list(range(first, first + count))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()


def start(weed, folder):
    ports = dict(zip(SERVICES, free_ports(len(SERVICES))))
    data, config = os.path.join(folder, "data"), os.path.join(folder, "identities.json")
    os.makedirs(data)
    identity = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    with open(config, "w") as out:
        json.dump({"identities": [identity]}, out)
    options = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": data,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 500,
        "filer": "true",
        "filer.localSocket": os.path.join(folder, "filer.sock"),
        "s3": "true",
        "s3.config": config,
        "s3.autoCreateBucket": "false",
        "s3.localSocket": os.path.join(folder, "s3.sock"),
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        **ports,
    }
    with open(os.path.join(folder, "log"), "w") as log:
        server = subprocess.Popen(
            [weed, "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env={**os.environ, "GOMEMLIMIT": "300MiB"},
        )
    return server, ports


def remove_sockets(ports):
    """What the services leave in the system's folder, wherever else they are told to put their files."""
    for port in ports.values():
        for left in glob.glob(f"/tmp/seaweedfs-*-{port}.sock"):
            os.unlink(left)


def answers(endpoint):
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return local.open(f"{endpoint}/healthz", timeout=2).status == 200
    except (urllib.error.URLError, OSError):
        return False


def main():
    weed, folder = sys.argv[1:]
    shutil.rmtree(folder, ignore_errors=True)
    server, ports = start(weed, folder)
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        for _ in range(600):
            if server.poll() is not None or answers(endpoint):
                break
            time.sleep(0.1)
        if server.poll() is not None or not answers(endpoint):
            with open(os.path.join(folder, "log")) as log:
                sys.exit("the S3 server does not answer:\n" + log.read()[-4000:])
        print(json.dumps({"endpoint": endpoint, "key": KEY, "secret": SECRET}), flush=True)
        sys.stdin.read()
    finally:
        # It takes its time to end politely, and nothing is kept.
        server.kill()
        server.wait()
        remove_sockets(ports)
        shutil.rmtree(folder, ignore_errors=True)


main()
