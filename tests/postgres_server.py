"""A PostgreSQL server for the tests, on a free port of this machine.

usage: postgres_server.py [SETTING=VALUE ...]

Makes a cluster in a folder of its own below the system's, with certificates, roles and these settings, and prints one line
of JSON once it answers. Then it does what it is told on standard input, a line each, and says a line of JSON for each:

    stop [MODE]      stops the server (`fast`, or `immediate` as a crash would)
    start            starts it again, on the same port
    restart [MODE]   both
    standby          makes a hot standby of it, and says its port
    pooler MODE      puts a PgBouncer before it, for the role `owner`, and says its port

It serves for as long as standard input is open: whoever starts it keeps the other end, so that it ends with the tests,
however they end.

PostgreSQL is looked for where systems put it, and so is PgBouncer. Debian's are installed on first use where that is allowed,
which is as root. They do not run as root: there they run as the user `postgres`.
"""

import fcntl
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

OLDEST = 15
PASSWORD = "s3cr3t-of-the-transload-tests"
PLACES = [
    "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin",
]

# `owner` owns the databases; `reader` may read what `owner` makes; `tlsonly` is let in over TLS only, and `certified` only
# with the certificate that has its name. `nobody` may do nothing.
ROLES = f"""
create role owner login createdb password '{PASSWORD}';
create role reader login password '{PASSWORD}';
create role nobody login password '{PASSWORD}';
create role tlsonly login password '{PASSWORD}';
create role certified login;
grant owner to tlsonly, certified;
grant pg_signal_backend, pg_monitor to owner;
"""

HBA = """
local     all         all                     scram-sha-256
local     replication all                     scram-sha-256
hostnossl all         tlsonly   127.0.0.1/32  reject
hostssl   all         certified 127.0.0.1/32  cert
host      all         all       127.0.0.1/32  scram-sha-256
"""

# A crash of the server loses nothing that it has committed; a crash of the machine would, as nothing is flushed.
SETTINGS = {
    "listen_addresses": "127.0.0.1", "max_connections": "100", "wal_level": "replica", "max_wal_senders": "4",
    "fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_wal_size": "2GB",
    "password_encryption": "scram-sha-256", "ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key",
    "ssl_ca_file": "ca.crt", "log_min_messages": "warning", "log_checkpoints": "off", "log_line_prefix": "%m %a %d ",
    "autovacuum_naptime": "5min",
}

# It speaks TLS with the server's certificate, and gives sessions away as `pool_mode` says.
POOLER = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = {mode}
auth_type = scram-sha-256
auth_file = {file}.users
client_tls_sslmode = allow
client_tls_key_file = {folder}/server.key
client_tls_cert_file = {folder}/server.crt
logfile = {file}.log
pidfile = {file}.pid
"""

# None of the system's own, which would be started.
UNSTARTED = (
    "mkdir -p /etc/systemd/system && ln -sf /dev/null /etc/systemd/system/pgbouncer.service "
    "&& echo START=0 > /etc/default/pgbouncer"
)


def version(folder):
    try:
        said = subprocess.run([f"{folder}/postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(re.search(r"\d+", said).group())


def installed():
    """The folder of the newest server that is there."""
    folders = [folder for place in PLACES for folder in glob.glob(place)]
    try:
        folders.append(subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip())
    except OSError:
        pass
    found = [(version(folder), folder) for folder in folders if os.path.exists(f"{folder}/initdb")]
    return max((one for one in found if one[0] >= OLDEST), default=(0, None))[1]


# Files that are there already stay as they are, and whoever else installs something is waited for.
INSTALL = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends",
           "--option", "Dpkg::Options::=--force-confold", "--option", "DPkg::Lock::Timeout=300"]


def found_or_installed(find, steps, wanted):
    """What `find` finds, if need be once these steps are taken."""
    with open(os.path.join(tempfile.gettempdir(), f"transload-postgres-{os.getuid()}.lock"), "w") as lock:
        # Several may come here at the same time: one installs, the others wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := find():
            return found
        said = ""
        if os.getuid() == 0 and shutil.which("apt-get"):
            for step in [["apt-get", "update", "--quiet"], *steps]:
                done = subprocess.run(step, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
                if done.returncode:
                    said += done.stdout[-2000:]
        return find() or sys.exit(
            f"the tests need {wanted}, and there is none; install it (apt-get install {steps[-1][-1]}), or run the tests as "
            f"root on Debian, where they do it: {said}")


def programs():
    # No cluster of the system's own, which would be started.
    unstarted = ["sed", "-ri", "s/^#?create_main_cluster.*/create_main_cluster = false/",
                 "/etc/postgresql-common/createcluster.conf"]
    return found_or_installed(installed, [[*INSTALL, "postgresql-common"], unstarted, [*INSTALL, "postgresql"]],
                              f"PostgreSQL {OLDEST} or newer")


def pgbouncer():
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
    return found_or_installed(lambda: shutil.which("pgbouncer", path=places),
                              [["sh", "-c", UNSTARTED], [*INSTALL, "pgbouncer"]], "PgBouncer")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


class Cluster:
    def __init__(self, programs, folder, settings):
        self.programs, self.folder, self.port = programs, folder, free_port()
        self.data, self.settings = f"{folder}/data", settings

    def make(self):
        self.write("password", PASSWORD)
        self.run(f"{self.programs}/initdb", "-D", self.data, "-U", "postgres", f"--pwfile={self.folder}/password", "-A",
                 "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync")
        self.make_certificates()
        self.write("data/pg_hba.conf", HBA)
        chosen = {**SETTINGS, "port": str(self.port), "unix_socket_directories": self.folder, **self.settings}
        with open(f"{self.data}/postgresql.conf", "a") as file:
            file.write("".join(f"{name} = '{value}'\n" for name, value in chosen.items()))
        self.start()
        self.psql(ROLES)

    def run(self, *command, **variables):
        """Runs a command as whom the server runs; its output is told when it fails."""
        command = list(command)
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        # What a server has inherited stays open for as long as it runs: a pipe would never end.
        with tempfile.TemporaryFile() as said:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.folder,
                                  env={**os.environ, "LC_ALL": "C", **variables}).returncode
            said.seek(0)
            if code:
                sys.exit(f"{' '.join(command)}: {said.read().decode(errors='replace')[-4000:]}\n{self.log()}")

    def write(self, name, text):
        with open(f"{self.folder}/{name}", "w") as file:
            file.write(text)

    def log(self):
        try:
            with open(f"{self.folder}/log") as log:
                return log.read()[-4000:]
        except OSError:
            return ""

    def make_certificates(self):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        for name in ("ca", "other_ca"):
            self.run("openssl", "req", "-x509", *key, "-days", "30", "-subj", f"/CN=transload tests {name}",
                     "-keyout", f"{name}.key", "-out", f"{name}.crt")
        for name, subject, names in (("server", "localhost", "DNS:localhost,IP:127.0.0.1"),
                                     ("client", "certified", "DNS:certified")):
            self.write(f"{name}.ext", f"basicConstraints=CA:FALSE\nsubjectAltName={names}\n")
            self.run("openssl", "req", *key, "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            self.run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                     "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext", "-out", f"{name}.crt")
        self.run("sh", "-c", "chmod 600 *.key && cp ca.crt server.crt server.key data/")

    def control(self, *args, data=None):
        self.run(f"{self.programs}/pg_ctl", "-D", data or self.data, "-l", f"{self.folder}/log", "-w", "-s", *args)

    def start(self):
        self.control("start")

    def stop(self, mode="fast"):
        self.control("-m", mode, "stop")

    def psql(self, sql):
        self.run(f"{self.programs}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port),
                 "-U", "postgres", "-c", sql, "postgres", PGPASSWORD=PASSWORD)

    def standby(self):
        """A hot standby, which does not wait for those who read from it when a change takes away what they read."""
        data, port = f"{self.folder}/standby", free_port()
        self.run(f"{self.programs}/pg_basebackup", "-D", data, "-R", "-c", "fast", "-h", self.folder, "-p",
                 str(self.port), "-U", "postgres", PGPASSWORD=PASSWORD)
        with open(f"{data}/postgresql.conf", "a") as file:
            file.write(f"port = {port}\nmax_standby_streaming_delay = 100ms\n")
        self.control("start", data=data)
        return {"port": port}

    def pooler(self, mode):
        port, file = free_port(), f"{self.folder}/pooler-{mode}"
        self.write(f"pooler-{mode}.users", f'"owner" "{PASSWORD}"\n')
        self.write(f"pooler-{mode}.ini",
                   POOLER.format(server=self.port, port=port, mode=mode, file=file, folder=self.folder))
        self.run(pgbouncer(), "-d", f"{file}.ini")
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return {"port": port}
            except OSError:
                time.sleep(0.05)
        sys.exit(f"PgBouncer does not answer: see {file}.log")

    def told(self, line):
        verb, *rest = line.split()
        if verb in ("stop", "restart"):
            self.stop(*rest)
        if verb in ("start", "restart"):
            self.start()
        if verb in ("standby", "pooler"):
            return getattr(self, verb)(*rest)
        return {}

    def end(self):
        for file in glob.glob(f"{self.folder}/pooler-*.pid"):
            try:
                with open(file) as pid:
                    os.kill(int(pid.read()), signal.SIGTERM)
            except (OSError, ValueError):
                pass
        for data in (f"{self.folder}/standby", self.data):
            if os.path.exists(f"{data}/postmaster.pid"):
                try:
                    self.control("-m", "immediate", "stop", data=data)
                except SystemExit:
                    pass

    def described(self):
        at = {name: f"{self.folder}/{file}" for name, file in (
            ("ca", "ca.crt"), ("other_ca", "other_ca.crt"), ("client_cert", "client.crt"), ("client_key", "client.key"))}
        return {"host": "localhost", "port": self.port, "user": "owner", "password": PASSWORD, "database": "postgres",
                "superuser": "postgres", "folder": self.folder, "programs": self.programs, **at}


def main():
    settings = dict(setting.split("=", 1) for setting in sys.argv[1:])
    found = programs()
    folder = tempfile.mkdtemp(prefix="transload-postgres-")
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    cluster = Cluster(found, folder, settings)
    try:
        cluster.make()
        print(json.dumps(cluster.described()), flush=True)
        for line in iter(sys.stdin.readline, ""):
            print(json.dumps(cluster.told(line)), flush=True)
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


main()
