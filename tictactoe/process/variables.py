"""What is made of other tools' environment variables: the one table of them.

Much of what Ray, W&B, Numba, matplotlib and Python read from the environment was set for another program: by a notebook, a
batch system, an earlier job. What the user may mean for this one is kept; what could only change or break a search is not.
`environment.prepare` applies the table, and `--check` prints what it has made of the variables that were set.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


@dataclass(frozen=True)
class Rule:
    """What happens to some variables, and why."""

    names: tuple[str, ...]
    """Patterns, as `fnmatch` has them."""
    why: str
    keep: bool = False
    """Whether a value of the user's stays; else it is replaced or taken out."""
    value: str | None = None
    """What the variable gets where the user's does not stay, or where there is none; None for a variable to be absent."""
    always: bool = True
    """Whether it gets `value` also where it was not set."""
    own_ray: bool = False
    """Whether this holds for a Ray of our own only, not for one that RAY_ADDRESS names."""

    def covers(self, name: str, own_ray: bool) -> bool:
        """Whether this rule is about a variable."""
        return (own_ray or not self.own_ray) and any(fnmatchcase(name, pattern) for pattern in self.names)


def _kept(names: str, why: str) -> Rule:
    return Rule(tuple(names.split()), why, keep=True)


def _default(name: str, value: str, why: str) -> Rule:
    return Rule((name,), why, keep=True, value=value)


def _fixed(names: str, value: str, why: str, always: bool = True, own_ray: bool = False) -> Rule:
    return Rule(tuple(names.split()), why, value=value, always=always, own_ray=own_ray)


def _removed(names: str, why: str, own_ray: bool = False) -> Rule:
    return Rule(tuple(names.split()), why, own_ray=own_ray)


_TUNE = "the search is Tune's only job here, and set up by this program"
_ELSEWHERE = "it belongs to a job on another Ray"
_DEBUG = "it would stop or slow Ray's processes, or fill the console"
RULES = (
    # Ray: this program's own choices
    _default("RAY_AUTH_MODE", "token", "an open dashboard runs anybody's code"),  # CVE-2023-48022
    _default("RAY_DEDUP_LOGS", "0", "with --verbose each message is shown"),
    _default("RAY_USAGE_STATS_ENABLED", "0", "nothing is sent to Ray's makers unasked"),
    _fixed("RAY_AIR_NEW_OUTPUT", "0", "Tune would print frames of its own"),
    # As where Ray supports one node only: its address is 127.0.0.1 (or ::1). So only the dashboard is for other machines, and a
    # firewall or VPN on this one's other addresses is of no account. An address in RAY_ADDRESS is taken as it is, too.
    _default("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0", "Ray's processes talk over this machine's own address"),
    _fixed("RAY_prestart_worker_first_driver", "0", "workers beside those of the first tasks would only take memory"),
    # Its kills are errors that Tune does not know and ends the search for. The kernel's it knows: it tries the trial again.
    _fixed("RAY_memory_monitor_refresh_ms", "0", "Tune does not know its kills and would end the search"),
    _fixed("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0", "under `uv run` Ray would copy this folder for each worker", own_ray=True),
    _fixed("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1", "file loggers cost more than a short trial"),
    _fixed("TUNE_DISABLE_SIGINT_HANDLER", "1", "signals are this program's"),  # see Interrupt
    # Ray: everybody else's
    _removed("TUNE_* RAY_TUNE_* RAY_AIR_* RAY_TRAIN_* TRAIN_* RAY_CHDIR_TO_TRIAL_DIR _TEST_TUNE_TRIAL_UUID", _TUNE),
    _removed(
        "RAY_JOB_CONFIG_JSON_ENV_VAR RAY_OVERRIDE_JOB_RUNTIME_ENV RAY_RUNTIME_ENV RAY_RUNTIME_ENV_HOOK RAY_NAMESPACE "
        "RAY_JOB_ID RAY_NODE_ID RAY_RAYLET_PID RAY_CLIENT_MODE RAY_REDIS_* RAY_GCS_SERVER_PORT RAY_CLUSTER_* RAY_STORAGE "
        "RAY_OVERRIDE_* RAY_ENABLE_AUTO_CONNECT RAY_ENABLE_GCS_LEADER_ELECTION RAY_FAKE_CLUSTER RAY_USE_RANDOM_PORTS "
        "RAY_grpc_enable_http_proxy RAY_gcs_storage __RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR",
        _ELSEWHERE,
        own_ray=True,
    ),
    _removed(
        "RAY_DEBUG RAY_DEBUG_POST_MORTEM RAY_PDB RAY_LOG_TO_STDERR RAY_testing_* RAY_*_VALGRIND RAY_*_VALGRIND_PROFILER "
        "RAY_*_PERFTOOLS_PROFILER RAY_*_GDB RAY_*_TMUX RAY_INTERNAL_MEM_PROFILE_* PERFTOOLS_PATH RAYLET_PERFTOOLS_PATH "
        "GRPC_VERBOSITY GRPC_TRACE",
        _DEBUG,
    ),
    _kept("RAY_ADDRESS", "it names a Ray that runs already"),
    _kept("RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH", "the dashboard's token, and the file it is in"),
    _kept("RAY_TMPDIR TMPDIR TEMP TMP", "Ray's session and all temporary files go there, if it will do"),
    _kept("RAY_USE_TLS RAY_TLS_*", "Ray's connections are encrypted as it says"),
    _kept("RAY_*", "Ray reads it"),
    _kept("CUDA_VISIBLE_DEVICES", "Ray counts these GPUs"),
    # W&B: each trial is a run of its own, named by this program. A run's name, id or folder can only be somebody else's.
    _default("WANDB_SILENT", "true", "its messages would stand between those of the search"),
    _kept(
        "WANDB_API_KEY WANDB_BASE_URL WANDB_APP_URL WANDB_ENTITY WANDB_ORGANIZATION WANDB_PROJECT WANDB_MODE WANDB_DISABLED "
        "WANDB_TAGS WANDB_RUN_TAGS WANDB_NOTES WANDB_RUN_NOTES WANDB_USERNAME WANDB_USER_EMAIL WANDB_EMAIL "
        "WANDB_IDENTITY_TOKEN_FILE WANDB_CREDENTIALS_FILE WANDB_INSECURE_DISABLE_SSL WANDB_HTTP_PROXY WANDB_HTTPS_PROXY "
        "WANDB__PROXIES WANDB_X_PROXIES WANDB__EXTRA_HTTP_HEADERS WANDB_X_EXTRA_HTTP_HEADERS WANDB_HTTP_TIMEOUT "
        "WANDB_FILE_PUSHER_TIMEOUT WANDB_CONFIG_DIR WANDB_CACHE_DIR WANDB_DATA_DIR WANDB_ARTIFACT_DIR WANDB_ERROR_REPORTING "
        "WANDB_DEBUG WANDB_CORE_DEBUG",
        "W&B reads it",
    ),
    _removed("WANDB_*", "runs are named, grouped and set up by this program, one for each trial"),
    _kept("NETRC", "W&B's key may be in it"),
    # The network
    _kept("[Hh][Tt][Tt][Pp]_[Pp]* [Hh][Tt][Tt][Pp][Ss]_[Pp]* ALL_PROXY all_proxy", "W&B's server is reached through it"),
    _kept("NO_PROXY no_proxy", "these addresses are reached without a proxy"),
    _kept("SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE", "W&B's server is trusted by it"),
    # Numbers
    _kept("NUMBA_CACHE_DIR", "compiled code is kept there, if it can be written"),
    _kept("NUMBA_DISABLE_JIT", "nothing is compiled: the search is a thousand times slower"),
    _kept("NUMBA_CPU_NAME NUMBA_CPU_FEATURES", "code is compiled for this processor"),
    _removed("NUMBA_*", "it would change compiled code or fill the console"),
    _fixed(
        "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS BLIS_NUM_THREADS NUMEXPR_NUM_THREADS NUMEXPR_MAX_THREADS "
        "VECLIB_MAXIMUM_THREADS",
        "1",
        "a trial computes in one thread",
        always=False,
    ),
    _fixed("MPLBACKEND", "agg", "figures go to files, never to a window or a notebook"),
    _kept("MPLCONFIGDIR MATPLOTLIBRC", "matplotlib reads it"),
    # Python. What the interpreter has read already is about those that this program starts.
    _removed(
        "PYTHONSAFEPATH PYTHONWARNINGS PYTHONDEVMODE PYTHONINSPECT PYTHONVERBOSE PYTHONOPTIMIZE PYTHONPROFILEIMPORTTIME "
        "PYTHONASYNCIODEBUG PYTHONTRACEMALLOC PYTHONMALLOC PYTHONMALLOCSTATS PYTHONDUMPREFS PYTHONBREAKPOINT PYTHONSTARTUP",
        "Ray's workers and W&B's service are to run as they are",
    ),
    _kept("PYTHONPATH PYTHONHOME PYTHONUSERBASE PYTHONNOUSERSITE", "modules are found by it"),
    _kept("PYTHONUTF8 PYTHONIOENCODING LC_ALL LC_CTYPE LANG", "output is encoded as it says"),
    # The terminal
    _kept("TERM COLUMNS LINES NO_COLOR FORCE_COLOR TTY_COMPATIBLE TTY_INTERACTIVE", "lines on the console go by it"),
)
_EMPTY_IS_UNSET = ("RAY_", "WANDB_", "NUMBA_", "TUNE_", "MPL", "PYTHON", "TMPDIR")
"""Variables of these names that are set but empty say nothing. Elsewhere it is a value: an empty CUDA_VISIBLE_DEVICES."""
_PATHS = (
    "HOME", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "MATPLOTLIBRC", "NETRC",
    "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR", "WANDB_IDENTITY_TOKEN_FILE",
    "WANDB_CREDENTIALS_FILE", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT", "SSL_CERT_FILE",
    "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
"""They name a path, which is meant from where the program was started: Ray's workers run in other folders."""


def apply(environment: MutableMapping[str, str]) -> list[str]:
    """Make of an environment what the table says; returns a line for each variable of it that was set, by name."""
    for name in [name for name in environment if not environment[name] and name.startswith(_EMPTY_IS_UNSET)]:
        del environment[name]
    for name in _PATHS:
        if path := environment.get(name):
            with suppress(OSError, RuntimeError):  # the folder one is in is gone, or there is no home
                environment[name] = str((Path(path).expanduser() if path.startswith("~/") else Path(path)).absolute())
    own_ray = "RAY_ADDRESS" not in environment
    made: list[tuple[str, str]] = []
    for name in sorted(environment):
        rule = next((rule for rule in RULES if rule.covers(name, own_ray)), None)
        if rule is None:
            continue
        if rule.keep or rule.value == environment[name]:
            what = "kept"
        elif rule.value is None:
            what = "taken out"
            del environment[name]
        else:
            what = f"set to {rule.value}"
            environment[name] = rule.value
        made.append((name, f"{what}: {rule.why}"))
    for rule in RULES:
        if rule.value is not None and rule.always and (own_ray or not rule.own_ray):
            for name in rule.names:
                environment.setdefault(name, rule.value)
    width = max((len(name) for name, _ in made), default=0)
    return [f"{name:{width}}  {text}" for name, text in made]
