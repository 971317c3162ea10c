"""The one table of what is made of other tools' variables."""

from __future__ import annotations

import pytest

from tictactoe.process import variables

SET = {name: rule.value for rule in variables.RULES if rule.value is not None and rule.always for name in rule.names}
"""What an empty environment gets."""


def applied(**environment: str) -> tuple[dict[str, str], list[str]]:
    """An environment after the table was applied to it, without what it gets anyway, and what is said of it."""
    lines = variables.apply(environment)
    return {name: value for name, value in environment.items() if SET.get(name) != value}, lines


def test_an_empty_environment_gets_this_programs_choices_and_nothing_is_said() -> None:
    environment: dict[str, str] = {}
    assert variables.apply(environment) == []
    assert environment == SET
    assert SET["RAY_AUTH_MODE"] == "token" and SET["MPLBACKEND"] == "agg" and SET["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
    assert "OMP_NUM_THREADS" not in SET


@pytest.mark.parametrize(
    "name",
    [
        "RAY_SOMETHING_NEW", "RAY_DEDUP_LOGS", "RAY_USAGE_STATS_ENABLED", "RAY_BACKEND_LOG_LEVEL", "RAY_USE_TLS",
        "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE", "WANDB_PROJECT", "WANDB_TAGS", "WANDB_SILENT", "https_proxy", "NO_PROXY",
        "SSL_CERT_FILE", "NUMBA_DISABLE_JIT", "NUMBA_CACHE_DIR", "PYTHONPATH", "CUDA_VISIBLE_DEVICES", "MPLCONFIGDIR", "LANG",
    ],
)  # fmt: skip
def test_what_the_user_may_mean_is_kept(name: str) -> None:
    environment, (line,) = applied(**{name: "/theirs"})
    assert environment == {name: "/theirs"}
    assert line.startswith(f"{name}  kept: ")


@pytest.mark.parametrize(
    "name",
    [
        "TUNE_RESULT_DIR", "TUNE_MAX_PENDING_TRIALS_PG", "TUNE_RESULT_BUFFER_LENGTH", "TUNE_ORIG_WORKING_DIR",
        "RAY_TUNE_CALLBACKS",
        "RAY_AIR_LOCAL_CACHE_DIR", "RAY_CHDIR_TO_TRIAL_DIR", "RAY_NAMESPACE", "RAY_RUNTIME_ENV", "RAY_RUNTIME_ENV_HOOK",
        "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_LOG_TO_STDERR", "RAY_DEBUG_POST_MORTEM", "RAY_REDIS_ADDRESS", "RAY_RAYLET_GDB",
        "RAY_testing_rpc_failure", "RAY_OVERRIDE_RESOURCES", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_RESUME", "WANDB_NAME",
        "WANDB_RUN_GROUP", "WANDB_DIR", "WANDB_SERVICE", "WANDB_INIT_TIMEOUT", "WANDB_X_ANYTHING", "NUMBA_NUM_THREADS",
        "NUMBA_DEBUG", "NUMBA_CAPTURED_ERRORS", "NUMBA_BOUNDSCHECK", "PYTHONSAFEPATH", "PYTHONWARNINGS", "PYTHONINSPECT",
        "GRPC_VERBOSITY",
    ],
)  # fmt: skip
def test_what_was_meant_for_another_program_is_taken_out(name: str) -> None:
    environment, (line,) = applied(**{name: "theirs"})
    assert not environment
    assert line.startswith(f"{name}  taken out: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MPLBACKEND", "agg"), ("RAY_memory_monitor_refresh_ms", "0"), ("RAY_AIR_NEW_OUTPUT", "0"),
        ("TUNE_DISABLE_SIGINT_HANDLER", "1"), ("OMP_NUM_THREADS", "1"), ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"),
    ],
)  # fmt: skip
def test_what_could_only_harm_is_replaced(name: str, value: str) -> None:
    environment = {name: "theirs"}
    (line,) = variables.apply(environment)
    assert environment[name] == value
    assert line.startswith(f"{name}  set to {value}: ")


def test_a_ray_that_runs_already_has_its_own_job() -> None:
    job = {"RAY_ADDRESS": "10.0.0.1:6379", "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_NAMESPACE": "x", "TUNE_RESULT_DIR": "/x"}
    environment, _ = applied(**job)
    del job["TUNE_RESULT_DIR"]
    assert environment == job
    variables.apply(job)
    assert "RAY_ENABLE_UV_RUN_RUNTIME_ENV" not in job


def test_what_is_set_but_empty_says_nothing_where_it_has_no_meaning() -> None:
    environment, lines = applied(
        RAY_ADDRESS="", RAY_TMPDIR="", WANDB_MODE="", MPLBACKEND="", CUDA_VISIBLE_DEVICES="", NO_PROXY=""
    )
    assert environment == {"CUDA_VISIBLE_DEVICES": "", "NO_PROXY": ""}
    assert len(lines) == 2


def test_paths_are_meant_from_where_the_program_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir("/usr")
    environment, _ = applied(HOME="lib", RAY_AUTH_TOKEN_PATH="~/token", NUMBA_CACHE_DIR="./b", SSL_CERT_FILE="/x", TERM="x")
    assert [*environment.values()] == ["/usr/lib", "/home/me/token", "/usr/b", "/x", "x"]


def test_lines_are_aligned_and_show_no_values() -> None:
    _, lines = applied(WANDB_API_KEY="secret", RAY_AUTH_TOKEN="secret", http_proxy="http://user:secret@host", TERM="x")
    assert [line.split("  ")[0] for line in lines] == ["RAY_AUTH_TOKEN", "TERM", "WANDB_API_KEY", "http_proxy"]
    assert len({len(line) - len(line.partition("kept: ")[2]) for line in lines}) == 1
    assert not any("secret" in line for line in lines)
