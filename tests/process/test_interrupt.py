"""Signals and deadlines, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.program import ROOT
from tictactoe.process import processes

PREPARE = """
import os, signal, subprocess, sys, time
import psutil
from tictactoe.process import processes, streams
from tictactoe.process.interrupt import Interrupt
streams.make_unfailing()  # as the program does: what it says is written at once
interrupt = Interrupt()
interrupt.install()
"""


def run(code: str) -> tuple[int, str]:
    """Exit code and output of a program that starts with `PREPARE`."""
    ran = subprocess.run(
        [sys.executable, "-c", PREPARE + code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_leaving_does_not_stumble_over_a_process_that_has_just_ended() -> None:
    code, output = run("""
ended = subprocess.Popen(["true"])
gone = psutil.Process(ended.pid)
ended.wait()
processes.ray_processes = lambda: [gone]
interrupt.leave(3)
""")
    assert (code, output) == (3, "")


def test_leaving_ends_the_process_whatever_goes_wrong() -> None:
    code, _ = run("""
def broken():
    raise RuntimeError
processes.ray_processes = broken
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.3)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(20)
""")
    assert code == 75


@pytest.mark.parametrize(("said", "output"), [("", "interrupted\n"), ("interrupt.words = ''", "")])
def test_what_hangs_is_interrupted_with_a_word_all_the_same(said: str, output: str) -> None:
    hanging = f"""
{said}
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.3)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(20)
"""
    assert run(hanging) == (75, output)


def test_a_fit_that_does_not_listen_yet_is_asked_again() -> None:
    code, output = run("""
interrupt.fitting = True
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.8)  # the first requests come while nobody listens, and do no harm
def heard(number, frame):
    print("heard")
    interrupt.fitting = False
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, heard)
end = time.monotonic() + 5
while interrupt.fitting and time.monotonic() < end:
    time.sleep(0.05)
assert interrupt.event.is_set()
""")
    assert (code, output) == (0, "heard\n")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_is_an_interruption_that_is_said_once(number: str) -> None:
    code, output = run(f"""
interrupt.words = "interrupted; go on"
os.kill(os.getpid(), signal.{number})
assert interrupt.event.wait(5)
interrupt.say()
interrupt.say()
interrupt.leave()
""")
    assert (code, output) == (75, "interrupted; go on\n")


def test_the_deadline_ends_a_hang_with_words() -> None:
    code, output = run("""
import ctypes
from tictactoe.process import interrupt as module
module.EXIT_SECONDS = 0.3
os.kill(os.getpid(), signal.SIGINT)
ctypes.CDLL(None).sleep(60)  # the main thread runs none of Python
""")
    assert (code, output) == (75, "interrupted\n")


def test_words_that_nobody_takes_do_not_keep_it_from_leaving() -> None:
    """As on a terminal that was stopped with Ctrl-S."""
    code = PREPARE + "os.set_blocking(1, True)\ninterrupt.words = 'x' * 1_000_000\ninterrupt.leave()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.wait(timeout=20) == 75
        assert process.stdout is not None
        process.stdout.read()


def test_a_failure_is_no_interruption() -> None:
    assert run("interrupt.leave(1)") == (1, "")


def test_nohup_is_respected() -> None:
    code = PREPARE + "os.kill(os.getpid(), signal.SIGHUP)\ntime.sleep(0.5)\nprint(interrupt.event.is_set())"
    ran = subprocess.run(
        ["nohup", sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "False\n")


@pytest.mark.parametrize("name", ["ray", "mnist-ray-tune"])
def test_a_folder_called_ray_makes_nobody_one_of_rays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "python").symlink_to(sys.executable)
    with subprocess.Popen([str(tmp_path / name / "python"), "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert psutil.Process(child.pid) not in processes.ray_processes()
        child.communicate(b"\n")
