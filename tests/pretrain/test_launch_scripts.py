"""The launch scripts with SLURM, DeepSpeed's launcher and the run replaced by a few lines of shell."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.small import hears_ctrl_c

SCRIPT = Path(__file__).parents[2] / "configs" / "launch" / "pretrain.slurm"
FAKES = {
    # two tasks, as srun would start them
    "srun": """while [ "${1#--}" != "$1" ]; do echo "srun $1" >> "$SAID"; shift; done
for task in 0 1; do SLURM_PROCID=$task SLURM_NTASKS=2 SLURM_LOCALID=$task "$@" & done
code=0; for job in $(jobs -p); do wait $job || code=$?; done; exit $code""",
    "scontrol": 'echo "$@" >> "$SAID"; [ "$1" = show ] && echo node7 || true',
    "atomfield": """echo "rank $RANK of $WORLD_SIZE on $LOCAL_RANK to $MASTER_ADDR: $@" >> "$SAID"
trap 'exit 75' USR1
[ "$2" = fails ] && exit 2
touch "$SAID.$RANK"; while [ "$2" = waits ]; do sleep 0.05; done""",
    # on one machine DeepSpeed's launcher dies of SIGTERM, and its child, which starts the ranks, lives on
    "deepspeed": """echo "deepspeed $@" >> "$SAID"
bash -c 'trap "echo saved >> \\"$SAID\\"; exit 1" TERM; touch "$SAID.0"; while :; do sleep 0.05; done' || exit $?""",
}


@pytest.fixture
def start(tmp_path):
    if not SCRIPT.is_file():
        pytest.skip("looks at the source tree")
    for name, text in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SAID": str(tmp_path / "said"),
        "SLURM_JOB_ID": "41", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_CPUS_PER_TASK": "3",
    }  # fmt: skip

    started = []

    def run(word, script=SCRIPT):
        started.append(
            subprocess.Popen(
                ["bash", str(script), word],
                env=environment,
                cwd=tmp_path,
                start_new_session=True,
                preexec_fn=hears_ctrl_c,
            )
        )
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def children(pid, deep=True):
    try:
        found = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*found, *(c for p in found for c in children(p))] if deep else found


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for children in /proc")
def test_a_signal_to_the_tasks_requeues_the_job(start, tmp_path):
    job = start("waits")
    while not all((tmp_path / f"said.{rank}").exists() for rank in (0, 1)):
        assert job.poll() is None
        time.sleep(0.02)
    (srun,) = children(job.pid, deep=False)
    for pid in children(srun):  # SLURM signals every process of the step
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
    assert job.wait(60) == 0
    said = (tmp_path / "said").read_text()
    assert "rank 1 of 2 on 1 to node7: pretrain waits" in said
    assert "srun --cpus-per-task=3" in said  # which srun does not know from sbatch
    assert "requeue 41" in said
    assert not list(tmp_path.glob(".atomfield-again-*"))


@pytest.mark.parametrize(("word", "code"), [("ends", 0), ("fails", 2)])
def test_a_run_that_ended_or_failed_is_not_queued_again(start, tmp_path, word, code):
    assert start(word).wait(60) == code
    assert "requeue" not in (tmp_path / "said").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_the_ranks_of_deepspeeds_launcher_hear_a_signal_to_the_script(start, tmp_path, number):
    job = start("waits", SCRIPT.with_name("deepspeed.sh"))
    while not (tmp_path / "said.0").exists():
        assert job.poll() is None
        time.sleep(0.02)
    job.send_signal(number)
    assert job.wait(60) == 1
    assert (tmp_path / "said").read_text().splitlines() == [
        "deepspeed --module atomfield pretrain waits",
        "saved",
    ]
