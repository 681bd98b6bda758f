"""A real, private Grid Engine in a folder: qmaster and execd, on a host with two slots and one GPU that is only counted.

It needs Debian's packages gridengine-master, gridengine-exec and gridengine-client; nothing outside the folder is touched.
SGE_ROOT and the ports, in ``environment``, are how its commands find it.
"""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from daemons import free_port, kill_tree, processes_of, wait_until

PROGRAMS = ("sge_qmaster", "sge_execd", "qsub", "qconf")
INSTALLED, SHARED, LIBRARY = map(Path, ("/var/lib/gridengine", "/usr/share/gridengine", "/usr/lib/gridengine"))
SETTINGS = {  # global configuration: short intervals, and jobs of a lost host are restarted
    "min_uid": "0",
    "min_gid": "0",
    "max_unheard": "00:00:10",
    "load_report_time": "00:00:03",
    "reschedule_unknown": "00:00:05",
    "mailer": "/bin/true",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00",
}
SCHEDULER = {"schedule_interval": "0:0:2", "flush_submit_sec": "1", "flush_finish_sec": "1"}
PARALLEL = """\
pe_name smp
slots 2
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""
HOST = """\
hostname {host}
load_scaling NONE
complex_values gpu=1,h_vmem=20G,tmem=20G,slots=2
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
"""
COMPLEXES = {  # in addition to the standard ones
    "gpu": "gpu gpu INT <= YES YES 0 0",
    "tmem": "tmem tmem MEMORY <= YES YES 0 0",
    "h_vmem": "h_vmem h_vmem MEMORY <= YES YES 0 0",
}


def missing_programs() -> list[str]:
    missing = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
    return missing + [str(folder) for folder in (INSTALLED, SHARED, LIBRARY) if not folder.is_dir()]


class GridEngine:
    """Call ``start``, run programs with ``environment``, then ``stop``; in between, ``lose_node`` and ``start_node``."""

    name = "sge"

    def __init__(self, folder: Path):
        self.folder, self.host = Path(folder), socket.gethostname()
        ports = {"SGE_QMASTER_PORT": str(free_port()), "SGE_EXECD_PORT": str(free_port())}
        self.environment = {"SGE_ROOT": str(self.folder), "SGE_CELL": "default", **ports}

    def start(self) -> None:
        common = self.folder / "default" / "common"
        for folder in (common, *(self.folder / "spool" / name for name in ("qmaster/job_scripts", "execd", "db"))):
            folder.mkdir(parents=True)
        for name in ("bin", "lib", "util", "utilbin"):
            (self.folder / name).symlink_to(INSTALLED / name)
        spool, original = str(self.folder / "spool"), "/var/spool/gridengine"
        bootstrap = (SHARED / "default-bootstrap").read_text().replace(f"{original}/spooldb", f"{spool}/db")
        bootstrap = bootstrap.replace(original, spool)
        (common / "bootstrap").write_text(re.sub(r"(?m)^admin_user .*", "admin_user none", bootstrap))
        (common / "act_qmaster").write_text(f"{self.host}\n")
        (common / "host_aliases").write_text(f"{self.host} localhost\n")
        configuration = (SHARED / "default-configuration").read_text().replace(original, spool)
        defaults, resources = str(LIBRARY / "spooldefaults"), SHARED / "util" / "resources"
        self.run(str(LIBRARY / "spoolinit"), "berkeleydb", "libspoolb", f"{spool}/db", "init")
        self.run(defaults, "configuration", self._file("global", _changed(configuration, SETTINGS)))
        self.run(defaults, "complexes", str(resources / "centry"))
        self.run(defaults, "usersets", str(resources / "usersets"))
        self.run(defaults, "managers", getpass.getuser())
        self.run("/usr/sbin/sge_qmaster")
        wait_until(lambda: self._answers("qconf", "-sm"), 30, "qmaster to answer")
        self._configure()
        self.start_node()

    def _configure(self) -> None:
        self.run("qconf", "-ah", self.host)
        self.run("qconf", "-as", self.host)
        complexes = [line for line in self.run("qconf", "-sc").splitlines() if line.split()[0] not in COMPLEXES]
        self.run("qconf", "-Mc", self._file("complexes", "\n".join([*complexes, *COMPLEXES.values()]) + "\n"))
        self.run("qconf", "-Ae", self._file("host", HOST.format(host=self.host)))
        self.run("qconf", "-Ap", self._file("smp", PARALLEL))
        self.run("qconf", "-Msconf", self._file("scheduler", _changed(self.run("qconf", "-ssconf"), SCHEDULER)))
        template = self.run("qconf", "-sq")
        for name in ("cpu.q", "gpu.q"):
            values = {"qname": name, "hostlist": self.host, "slots": "2", "pe_list": "smp", "load_thresholds": "NONE"}
            self.run("qconf", "-Aq", self._file(name, _changed(template, values)))

    def start_node(self) -> None:
        self.run("/usr/sbin/sge_execd")
        wait_until(lambda: " au" not in self.run("qstat", "-f").replace("     au", " au"), 40, "execd to report")

    def lose_node(self) -> None:
        """Kill the host with all its jobs."""
        for process in [*self._processes("sge_execd"), *self._processes("sge_shepherd")]:
            kill_tree(process)

    def preempt(self, job: str) -> None:
        """Requeue the job, like an operator who needs its slot."""
        self.run("qmod", "-rj", job)

    def cancel(self, job: str) -> None:
        self.run("qdel", job)
        wait_until(lambda: job not in self.jobs(), 30, f"job {job} to go")

    def state(self, job: str) -> str:
        """State letters of qstat; empty if the job is gone."""
        rows = [line.split() for line in self.run("qstat", "-u", "*").splitlines()[2:]]
        return next((row[4] for row in rows if row[0] == job), "")

    def jobs(self) -> list[str]:
        """Ids of waiting and running jobs, newest first."""
        ids = [line.split()[0] for line in self.run("qstat", "-u", "*").splitlines()[2:]]
        return sorted(ids, key=int, reverse=True)

    def name_of(self, job: str) -> str:
        """Rule of a job."""
        found = re.search(r"^job_name: +nc-(\S+)$", self.record(job), re.MULTILINE)
        return found[1] if found else ""

    def sign_of(self, rule: str) -> str:
        """Regular expression for the records of a rule's jobs."""
        return rf"(?m)^job_name: +nc-{rule}$"

    def record(self, job: str) -> str:
        """The scheduler's description of a waiting or running job; empty if it is gone."""
        done = subprocess.run(["qstat", "-j", job], env=os.environ | self.environment, capture_output=True, text=True)
        return done.stdout

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        for process in [
            *self._processes("sge_execd"),
            *self._processes("sge_shepherd"),
            *self._processes("sge_qmaster"),
        ]:
            kill_tree(process)
        time.sleep(0.5)

    def _processes(self, name: str) -> list[int]:
        return processes_of(name, lambda process: process.environ().get("SGE_ROOT") == str(self.folder))

    def _answers(self, *command: str) -> bool:
        return subprocess.run(command, env=os.environ | self.environment, capture_output=True).returncode == 0

    def _file(self, name: str, content: str) -> str:
        path = self.folder / f"{name}.conf"
        path.write_text(content)
        return str(path)


def _changed(configuration: str, values: dict[str, str]) -> str:
    """A Grid Engine configuration (one key and value per line) with some values replaced."""
    for key, value in values.items():
        configuration, found = re.subn(rf"(?m)^{key}\s.*(\\\n.*)*", f"{key} {value}", configuration)
        assert found == 1, f"{key} stands {found} times in\n{configuration}"
    return configuration
