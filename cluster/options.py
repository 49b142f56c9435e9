"""What a run is told, in three parts: what decides its result, what decides its speed, and what it reports."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

from cluster.errors import RunError
from cluster.limiter import SamplesToInserts
from replay.ranges import Range, Seed, Steps, check_fields

BatchSize = Annotated[int, Range(1, 2**24)]
"""Transitions of one gradient step."""


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on. Two runs with equal recipes on one kind of machine end bit-identical,
    whatever their topology."""

    datasets: tuple[tuple[str, float | None], ...]
    """(absolute path, weight): relative shares of every batch; None for all means by number of transitions."""
    algorithm: str
    knobs: dict[str, Any] = field(default_factory=dict)
    seed: Seed = 0
    batch_size: BatchSize = 256
    steps: Steps = 100_000
    split: str = "train"
    where: str | None = None
    fused: bool = False
    """The learner computes its own targets: no updaters."""
    chunk_steps: int = 8
    """K: gradient steps labelled with one version of the weights."""
    depth: int = 2
    """D: chunk c is labelled with the weights of step (c − D)·K."""
    label_reuse: int = 1
    """u: gradient steps each labelled row takes part in, on average."""
    priority_exponent: float = 0.0
    """Above 0, sampling is prioritised by TD error to this power."""
    importance_exponent: float = 0.4
    shards_per_draw: int | None = None
    """Limits how many shards one draw touches, on large clusters."""
    device: str = "cpu"
    compile: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        check_fields(self, RunError, _option)
        if self.depth < 0:
            raise RunError(f"--depth: found {self.depth}, expected 0 or more.")
        if self.chunk_steps % self.label_reuse:
            raise RunError(
                f"--label-reuse: {self.label_reuse} does not divide --chunk-steps {self.chunk_steps}; "
                "choose a multiple of it for --chunk-steps."
            )
        if self.fused and self.label_reuse > 1:
            raise RunError("--label-reuse: a fused run has no labels to reuse; add --updaters 1 or more.")


@dataclass(frozen=True)
class OnlineRecipe:
    """What a fine-tuning run's result depends on besides: how much is gathered, how, and in what share."""

    env_steps: int
    """Environment steps to store."""
    updates_per_step: float = 1.0
    """Gradient steps for each of them."""
    learning_starts: int = 0
    """Environment steps stored before the first gradient step; they are worth none."""
    slack: float | None = None
    """Environment steps by which learning and interaction may run apart; by default, twice the least that works."""
    share: float | None = None
    """Of fresh transitions in each batch; None: as many as there are, among logged and fresh ones together."""
    final_share: float | None = None
    """Where the share moves to, along a line, over the run."""
    stochastic: bool = True
    """Runners draw actions from the policy, instead of taking its mode."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on their actions, in halves of the action's range."""
    random_probability: float = 0.0
    """Share of uniformly random actions."""
    envs_per_runner: int = 1
    vectorization: str = "sync"
    """How they are stepped together: sync, async or native, as `envs.make_vector` says."""
    rollout_steps: int = 50
    """Steps of each environment between two looks at newer weights."""
    capacity: int | None = None
    """Fresh transitions that are sampled from at most: the oldest episodes go first."""
    max_age: int | None = None
    """Environment steps after which an episode is no longer sampled from."""
    min_return: float | None = None
    """Episodes of a lower return are not sampled from."""

    def __post_init__(self) -> None:
        for name in ("env_steps", "envs_per_runner", "rollout_steps"):
            if getattr(self, name) < 1:
                raise RunError(f"--{name.replace('_', '-')}: found {getattr(self, name)}, expected at least 1.")
        if not 0.0 < self.updates_per_step < float("inf"):
            raise RunError(f"--updates-per-step: found {self.updates_per_step}, expected a number above 0.")
        if self.final_share is not None and self.share is None:
            raise RunError("--final-share: needs a --share to begin with; found all.")
        if self.learning_starts >= self.env_steps:
            raise RunError(
                f"--learning-starts: found {self.learning_starts}, but the run ends after {self.env_steps} environment "
                "steps (--env-steps): nothing would be learned."
            )

    def limiter(self, chunk_steps: int, runners: int) -> SamplesToInserts:
        """Raises `RunError` for bounds that could stop the run."""
        if runners < 1:
            raise RunError(f"--runners: found {runners}, expected at least 1: nobody else gathers fresh data.")
        rollout = runners * self.envs_per_runner * self.rollout_steps
        least = (chunk_steps / self.updates_per_step + rollout) / 2
        limiter = SamplesToInserts(
            self.updates_per_step, self.learning_starts, 2 * least if self.slack is None else self.slack
        )
        limiter.check(chunk_steps, rollout)
        return limiter


MOST_ACTORS = 10_000
"""Of one role: each is a process."""

LEAST_SHARE = 0.0001
"""Of a CPU, a GPU or another resource: what Ray counts in."""


@dataclass(frozen=True)
class Role:
    """How many actors of a role, and what each is given."""

    count: int = 1
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    resources: dict[str, float] = field(default_factory=dict)
    """Custom Ray resources, to pin a role to a kind of node."""


@dataclass(frozen=True)
class Topology:
    """Who runs where. It changes speed, never results."""

    serial: bool = False
    address: str | None = None
    """None starts Ray on this machine; `auto` or an address joins a running cluster."""
    replay_shards: Role = Role(count=1, num_cpus=0.5)
    bellman_updaters: Role = Role(count=0)
    learners: Role = Role(count=1)
    evaluators: Role = Role(count=1, num_cpus=0.5)
    env_runners: Role = Role(count=1, num_cpus=0.5)
    """Of fine-tuning only, as is the next."""
    online_writers: Role = Role(count=1, num_cpus=0.1)
    stage: str | None = None
    """A folder on each node's own disk to which shards are copied and verified first."""
    allow_mixed: bool = False
    """Accept updaters on another kind of processor than the learner's: results are then not bit-identical."""
    max_restarts: int = 3
    """How often a dead learner is restarted from the last checkpoint."""
    late_chunk_seconds: float = 30.0
    """A chunk later than this, and than three times the median, is given to a second updater too."""

    def __post_init__(self) -> None:
        if self.serial and self.learners.count > 1:
            raise RunError("--learners: several learners are several processes; leave out --serial.")
        if self.replay_shards.count < 1 or self.learners.count < 1:
            raise RunError("--shards and --learners: expected at least 1 of each.")
        for option, role in (
            ("--shards", self.replay_shards),
            ("--updaters", self.bellman_updaters),
            ("--learners", self.learners),
            ("--evaluators", self.evaluators),
            ("--runners", self.env_runners),
        ):
            if not 0 <= role.count <= MOST_ACTORS:
                raise RunError(f"{option}: found {role.count}, expected 0 to {MOST_ACTORS:,}.")


@dataclass(frozen=True)
class Cadence:
    """When a run reports and saves, in gradient steps; each falls on the next chunk boundary. Never changes results."""

    log_every: int = 500
    validate_every: int = 1_000
    checkpoint_every: int = 10_000
    keep: int = 3
    """Checkpoints kept: the newest ones, and always the best evaluated one."""
    eval_every: int = 0
    """0 evaluates before the first and after the last step only (when there is an environment)."""
    eval_episodes: int = 20
    eval_stochastic: bool = False
    """Evaluations draw actions from the policy instead of taking its mode."""


def as_json(record: Any) -> dict[str, Any]:
    """A frozen options dataclass as plain JSON types."""
    return dataclasses.asdict(record)


def recipe_from_json(record: dict[str, Any], where: str) -> Recipe:
    """Raises `RunError`, naming `where`, for a record of another version."""
    known = {entry.name for entry in dataclasses.fields(Recipe)}
    if unknown := set(record) - known:
        raise RunError(f"{where}: recipe has unknown entries {sorted(unknown)}; was it written by another version?")
    try:
        datasets = tuple((str(path), weight) for path, weight in record["datasets"])
        knobs = {name: tuple(value) if isinstance(value, list) else value for name, value in record["knobs"].items()}
        return Recipe(**{**record, "datasets": datasets, "knobs": knobs})
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{where}: recipe does not read: {error!r}.") from error


def _option(name: str) -> str:
    """What the command line calls a field."""
    return f"--{name.replace('_', '-')}"
