"""A real Slurm of one node on this machine, for as long as the tests run: loopback only, four fake GPUs, no systemd.

Debian's packages are installed where they are missing. Everything else lies in one folder, but for the files of
/etc/slurm, where Snakemake's job step needs them: it takes SLURM_CONF out of a job's environment. A file there that is
not ours is never touched. Daemons run in the foreground as children of this process and end with it.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "# a test of framer wrote this\n"
ETC = Path("/etc/slurm")
PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
}
CPUS, MEMORY, GPUS = 16, 64000, 4


def unavailable() -> str | None:
    """Why there can be no Slurm here, or None."""
    if os.geteuid() != 0:
        return "a Slurm of its own needs root"
    if not shutil.which("apt-get"):
        return "installing Slurm needs apt-get"
    foreign = [path.name for path in ETC.glob("*.conf") if path.name in _CONFS and not _ours(path)]
    if foreign:
        return f"this machine has a Slurm of its own: {ETC / foreign[0]}"
    return None


def install() -> None:
    """Install what is missing; no service of the packages starts."""
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if not missing:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", "--quiet", *command], check=True, env=environment)
    finally:
        if ours:
            policy.unlink()


@contextmanager
def cluster(accounting: bool) -> Iterator[Path]:
    """Run the daemons for a block; gives the folder of their logs."""
    root = Path(tempfile.mkdtemp(prefix="framer-slurm-", dir="/var/tmp"))
    root.chmod(0o755)
    node = _Node(root, accounting)
    try:
        node.start()
        yield root / "log"
    finally:
        node.stop()
        shutil.rmtree(root)


class _Node:
    """The daemons, in the order in which they were started."""

    def __init__(self, root: Path, accounting: bool):
        self.root, self.accounting = root, accounting
        self.host = socket.gethostname().split(".")[0]
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.hosts: str | None = None

    def start(self) -> None:
        for name, user in (("log", "root"), ("munge", "munge"), ("state", "slurm"), ("spool", "root"), ("db", "mysql")):
            if name != "db" or self.accounting:
                self._folder(name, user)
        self._point_host_at_loopback()
        self._munge()
        self._devices()
        ETC.mkdir(exist_ok=True)
        for name, text in self._confs().items():
            if name == "slurmdbd.conf":  # it insists on a private file of its own
                (ETC / name).touch(mode=0o600)
                shutil.chown(ETC / name, "slurm")
            (ETC / name).write_text(MARK + text)
        if self.accounting:
            self._database()
        self._daemon("slurmctld", ["slurmctld", "-D"], lambda: "UP" in _said("scontrol", "ping"))
        self._daemon("slurmd", ["slurmd", "-D", "-N", self.host], self._idle)

    def stop(self) -> None:
        """End the jobs, then the daemons, by the processes that were started here."""
        if "slurmctld" in self.daemons and (ids := _said("squeue", "--noheader", "--format=%A").split()):
            subprocess.run(["scancel", *ids], check=False)
            _wait(lambda: not _said("squeue", "--noheader"), 60, "jobs to end")
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for name in _CONFS:
            if _ours(ETC / name):
                (ETC / name).unlink()
        if self.hosts is not None:
            Path("/etc/hosts").write_text(self.hosts)

    def _folder(self, name: str, user: str) -> Path:
        folder = self.root / name
        folder.mkdir(mode=0o755)
        shutil.chown(folder, user)
        return folder

    def _daemon(self, name: str, command: list[str], ready: Callable[[], bool], **environment: str) -> None:
        log = (self.root / "log" / f"{name}.out").open("wb")
        variables = {**os.environ, **environment}
        variables.pop("SLURM_CONF", None)
        with log:
            daemon = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=variables, start_new_session=True
            )
        self.daemons[name] = daemon

        def up() -> bool:
            if daemon.poll() is not None:
                raise RuntimeError(f"{name} ended: {Path(log.name).read_text()[-2000:]}")
            return ready()

        _wait(up, 60, name)

    def _point_host_at_loopback(self) -> None:
        """The daemons listen where the host's name points to."""
        try:
            if socket.gethostbyname(self.host).startswith("127."):
                return
        except OSError:
            pass
        hosts = Path("/etc/hosts")
        self.hosts = hosts.read_text()
        hosts.write_text(f"127.0.0.1 {self.host}\n{self.hosts}")

    @property
    def socket(self) -> str:
        return f"{self.root}/munge/socket"

    def _munge(self) -> None:
        key = self.root / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        shutil.chown(key, "munge", "munge")
        folder = f"{self.root}/munge"
        files = [f"--{name}={folder}/{name.removesuffix('-file')}" for name in ("pid-file", "seed-file", "log-file")]
        command = [*_as("munge"), "munged", "--foreground", f"--key-file={key}", f"--socket={self.socket}", *files]
        self._daemon("munged", command, lambda: bool(_said("munge", "-n", "-S", self.socket)))

    def _database(self) -> None:
        """MariaDB on a socket alone, and slurmdbd, which logs in as the user it is."""
        data, mysql = f"{self.root}/db/data", f"{self.root}/db/socket"
        make = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}", "--skip-test-db"]
        subprocess.run(
            [*make, "--auth-root-authentication-method=socket"], check=True, stdout=subprocess.DEVNULL, timeout=120
        )
        command = ["mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={mysql}"]
        more = [f"--pid-file={self.root}/db/pid", "--skip-networking", "--skip-log-bin"]
        client = ["mariadb", "--no-defaults", f"--socket={mysql}"]
        self._daemon("mariadbd", [*command, *more], lambda: bool(_said(*client, "-e", "SELECT 1")))
        grant = (
            "CREATE DATABASE slurm_acct_db; CREATE USER 'slurm'@'localhost' IDENTIFIED VIA unix_socket;"
            "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';"
        )
        subprocess.run([*client, "-e", grant], check=True)
        sockets = {"MYSQL_UNIX_PORT": mysql, "MARIADB_UNIX_PORT": mysql}
        answers: Callable[[], bool] = lambda: "Cluster" in _said("sacctmgr", "show", "cluster")  # noqa: E731
        self._daemon("slurmdbd", [*_as("slurm"), "slurmdbd", "-D"], answers, **sockets)
        for command in (["cluster", "framer"], ["account", "lab", "Cluster=framer"], ["user", "root", "account=lab"]):
            subprocess.run(["sacctmgr", "--immediate", "--quiet", "add", *command], check=True)

    def _devices(self) -> None:
        """Fake GPUs: Slurm counts files, and gives their numbers as CUDA_VISIBLE_DEVICES."""
        self._folder("dev", "root")
        for number in range(GPUS):
            os.mknod(self.root / f"dev/nvidia{number}", 0o020666, os.makedev(1, 3))  # clones of /dev/null

    def _idle(self) -> bool:
        state = _said("sinfo", "--noheader", f"--nodes={self.host}", "--format=%T").split()
        if state and state[0].startswith(("down", "drain")):
            _said("scontrol", "update", f"NodeName={self.host}", "State=RESUME")
        return bool(state) and state[0] == "idle"

    def _confs(self) -> dict[str, str]:
        """The files of /etc/slurm."""
        accounting = "AccountingStorageType=accounting_storage/none"
        confs = {
            "gres.conf": f"NodeName={self.host} Name=gpu File={self.root}/dev/nvidia[0-{GPUS - 1}]\n",
            # Without cgroups; what is written here keeps slurmd from looking for them.
            "cgroup.conf": "CgroupPlugin=cgroup/v1\n",
        }
        if self.accounting:
            accounting = f"""AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=6819
AccountingStoragePass={self.socket}
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations
AccountingStoreFlags=job_comment"""
            confs["slurmdbd.conf"] = f"""AuthType=auth/munge
AuthInfo=socket={self.socket}
CommunicationParameters=NoInAddrAny
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=6819
SlurmUser=slurm
LogFile={self.root}/state/slurmdbd.log
PidFile={self.root}/state/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
"""
        confs["slurm.conf"] = f"""ClusterName=framer
SlurmctldHost={self.host}(127.0.0.1)
SlurmUser=slurm
SlurmdUser=root
SlurmctldPort=6817
SlurmdPort=6818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=cred_expire=5,socket={self.socket}
StateSaveLocation={self.root}/state
SlurmdSpoolDir={self.root}/spool
SlurmctldPidFile={self.root}/state/slurmctld.pid
SlurmdPidFile={self.root}/spool/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MinJobAge=300
KillWait=30
GresTypes=gpu
{accounting}
NodeName={self.host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={MEMORY} Gres=gpu:{GPUS} State=UNKNOWN
PartitionName=main Nodes={self.host} Default=YES MaxTime=2880 PriorityTier=10 PreemptMode=OFF
PartitionName=spare Nodes={self.host} MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE
"""
        return confs


_CONFS = ("slurm.conf", "gres.conf", "cgroup.conf", "slurmdbd.conf")


def _ours(path: Path) -> bool:
    return path.is_file() and (path.stat().st_size == 0 or path.read_text().startswith(MARK))


def _as(user: str) -> list[str]:
    entry = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def _said(*command: str) -> str:
    """What a command prints, or nothing where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _wait(ready: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds} s for {what}")
        time.sleep(0.2)
