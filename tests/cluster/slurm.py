"""A real, private Slurm in a folder: munge, slurmctld and slurmd, on a node with two CPUs and one GPU that is only counted.

It needs Debian's packages slurm-wlm and munge, and no root; nothing outside the folder is touched. There is no accounting
database, as on many small clusters. SLURM_CONF, in ``environment``, is how its commands find it; Snakemake's plugin takes that
away from a job's srun, so the PATH there has one that sets it again.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from daemons import free_port, kill_tree, processes_of, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
GPU_DEVICE = "/dev/null"  # only counted, doesn't exist

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SwitchType=switch/none
MpiDefault=none
PlugStackConfig=/dev/null
SchedulerParameters=sched_interval=2,batch_sched_delay=1,bf_interval=2
SlurmdTimeout=10
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=20000 Gres=gpu:1
PartitionName=cpu Nodes=ALL Default=YES PriorityTier=1
PartitionName=gpu Nodes=ALL PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=10
"""


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if not _found(name)]


class Slurm:
    """Call ``start``, run programs with ``environment``, then ``stop``; in between, ``lose_node`` and ``start_node``."""

    name = "slurm"

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.environment = {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }

    def start(self) -> None:
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True, mode=0o700)
        srun = self.folder / "bin" / "srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o400)
        values = {"host": socket.gethostname(), "user": getpass.getuser(), "folder": self.folder}
        values |= {"controller_port": free_port(), "node_port": free_port()}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
        (self.folder / "gres.conf").write_text(f"NodeName={values['host']} Name=gpu File={GPU_DEVICE}\n")
        munge = {"socket": "munge.sock", "key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log"}
        options = [f"--{name}={self.folder / file}" for name, file in (munge | {"seed-file": "munge.seed"}).items()]
        self.run(_found("munged"), "--force", *options)
        self.run(_found("slurmctld"), "-c")
        self.start_node()

    def start_node(self) -> None:
        self.run(_found("slurmd"))
        wait_until(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%t"), 30, "the node to be idle")

    def lose_node(self) -> None:
        """Kill the node with all its jobs."""
        self._end("slurmd")

    def preempt(self, job: str) -> None:
        """Preempt the job: its GPU goes to another job for a moment, and the job is requeued."""
        self.run("sbatch", "--partition=urgent", "--gres=gpu:1", "--output=/dev/null", "--wrap=sleep 3")
        wait_until(lambda: self.state(job) == "PENDING", 60, f"job {job} to be preempted")
        # By default, a requeued job waits for two minutes.
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def cancel(self, job: str) -> None:
        self.run("scancel", job)
        wait_until(lambda: job not in self.jobs(), 30, f"job {job} to go")

    def state(self, job: str) -> str:
        return self.run("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}").strip()

    def jobs(self) -> list[str]:
        """Ids of waiting and running jobs, newest first."""
        return sorted(self.run("squeue", "--noheader", "--format=%i").split(), key=int, reverse=True)

    def name_of(self, job: str) -> str:
        """Rule of a job."""
        return self.run("squeue", "--noheader", "--format=%k", f"--jobs={job}")

    def sign_of(self, rule: str) -> str:
        """Regular expression for the records of a rule's jobs."""
        return rf"Comment=rule_{rule}(_wildcards|\s)"

    def record(self, job: str) -> str:
        """The scheduler's description of a job, also after its end."""
        return self.run("scontrol", "show", "job", job)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            self._end(name)
        time.sleep(0.5)

    def _end(self, name: str) -> None:
        """Kill a daemon; with slurmd also the job steps, which would continue without it."""
        file = self.folder / f"{name}.pid"
        processes = [int(file.read_text())] if file.exists() else []
        if name == "slurmd":  # a step runs in the folder of slurmd's log, and no variable identifies it
            processes += processes_of("slurmstepd", lambda process: process.cwd() == str(self.folder))
        for process in processes:
            kill_tree(process)
        file.unlink(missing_ok=True)


def _found(name: str) -> str | None:
    """Daemons are in folders that a user's PATH may not contain."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
