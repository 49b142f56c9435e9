"""What a run is told, in three parts: what decides its result, what decides its speed, and what it reports."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Any

from cluster import ranges
from cluster.errors import RunError
from cluster.limiter import SamplesToInserts, gradient_steps
from cluster.schedule import Schedule
from cluster.settings import ADDRESS, DEVICE, EXPRESSION, NAME, PATH, VECTORIZATION, Held, hold
from replay.mixing import fresh_count
from replay.ranges import Range


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on. Two runs with equal recipes on one kind of machine end bit-identical,
    whatever their topology."""

    datasets: Annotated[tuple[tuple[str, float | None], ...], ranges.DATASETS]
    """(absolute path, weight): relative shares of every batch; None for all means by number of transitions."""
    algorithm: str
    knobs: dict[str, Any] = field(default_factory=dict)
    seed: ranges.Seed = 0
    batch_size: ranges.BatchSize = 256
    steps: ranges.Steps = 100_000
    split: Annotated[str, NAME] = "train"
    where: Annotated[str | None, EXPRESSION] = None
    fused: bool = False
    """The learner computes its own targets: no updaters."""
    chunk_steps: ranges.ChunkSteps = 8
    """K: gradient steps labelled with one version of the weights."""
    depth: ranges.Depth = 2
    """D: chunk c is labelled with the weights of step (c − D)·K."""
    label_reuse: ranges.LabelReuse = 1
    """u: gradient steps each labelled row takes part in, on average."""
    priority_exponent: ranges.PriorityExponent = 0.0
    """Above 0, sampling is prioritised by TD error to this power."""
    importance_exponent: ranges.ImportanceExponent = 0.4
    shards_per_draw: ranges.ShardsPerDraw = None
    """Limits how many shards one draw touches, on large clusters."""
    imagine_every: ranges.ImagineEvery = None
    """Gradient steps from one imagination to the next, the first before step 0, where the algorithm has a model."""
    imagine_starts: ranges.ImagineStarts = None
    """Logged transitions of whose states each imagination makes new ones."""
    imagined_capacity: ranges.ImaginedCapacity = None
    """Imagined transitions kept: the oldest go first."""
    imagined_share: ranges.ImaginedShare = None
    """Of imagined transitions in each batch: over many batches exactly this."""
    device: Annotated[str, DEVICE] = "cpu"
    compile: bool = False
    threads: ranges.Threads = 1

    def __post_init__(self) -> None:
        hold(self)
        if self.chunk_steps % self.label_reuse:
            raise RunError(
                f"--label-reuse: {self.label_reuse} does not divide --chunk-steps {self.chunk_steps}; "
                "choose a multiple of it for --chunk-steps."
            )
        if self.fused and self.label_reuse > 1:
            raise RunError("--label-reuse: a fused run has no labels to reuse; add --updaters 1 or more.")
        self._check_imagining()

    def _check_imagining(self) -> None:
        every, share = self.imagine_every, self.imagined_share
        for name in ("imagine_starts", "imagined_capacity", "imagined_share"):
            option, given = f"--{name.replace('_', '-')}", getattr(self, name)
            if every is None and given is not None:
                raise RunError(
                    f"{option}: found {given}, but nothing is imagined without --imagine-every; leave it out."
                )
            if every is not None and given is None:
                raise RunError(f"{option}: not given, expected with --imagine-every {every}; give it.")
        if every is None or share is None:
            return
        if every % self.chunk_steps:
            raise RunError(f"--imagine-every: found {every}, expected a multiple of --chunk-steps {self.chunk_steps}.")
        if not self.fused or self.priority_exponent > 0:
            raise RunError(
                "--imagine-every: expected a fused run without --priority-exponent: the learner, which holds what was "
                "imagined, computes the labels."
            )
        if math.ceil(share * self.batch_size) >= self.batch_size:
            raise RunError(
                f"--imagined-share: {share:g} of --batch-size {self.batch_size} leaves no logged transitions; lower it."
            )

    @property
    def schedule(self) -> Schedule:
        """Which steps, draws and weights each chunk takes."""
        return Schedule(self.steps, self.chunk_steps, self.depth, self.label_reuse, self.imagine_every or 0)

    def imagined_rows(self, step: int) -> int:
        """How many of a step's rows are imagined."""
        return fresh_count(self.imagined_share or 0.0, step, self.batch_size)

    def logged_rows(self, step: int) -> int:
        """How many of a step's rows are drawn from the logs."""
        return self.batch_size - self.imagined_rows(step)


@dataclass(frozen=True)
class OnlineRecipe:
    """What a fine-tuning run's result depends on besides: how much is gathered, how, and in what share."""

    env_steps: ranges.Steps
    """Environment steps to store."""
    updates_per_step: ranges.UpdatesPerStep = 1.0
    """Gradient steps for each of them."""
    learning_starts: ranges.StepsOrNone = 0
    """Environment steps stored before the first gradient step; they are worth none."""
    slack: ranges.Slack = None
    """Environment steps by which learning and interaction may run apart; by default, twice the least that works."""
    share: ranges.ShareOrNone = None
    """Of fresh transitions in each batch; None: as many as there are, among logged and fresh ones together."""
    final_share: ranges.ShareOrNone = None
    """Where the share moves to, along a line, over the run."""
    stochastic: bool = True
    """Runners draw actions from the policy, instead of taking its mode."""
    noise: ranges.Noise = 0.0
    """Standard deviation of Gaussian noise on their actions, in halves of the action's range."""
    random_probability: ranges.Share = 0.0
    """Share of uniformly random actions."""
    envs_per_runner: ranges.EnvironmentsPerRunner = 1
    vectorization: Annotated[str, VECTORIZATION] = "sync"
    """How they are stepped together: sync, async or native, as `envs.make_vector` says."""
    rollout_steps: ranges.RolloutSteps = 50
    """Steps of each environment between two looks at newer weights."""
    capacity: ranges.StepsOrAll = None
    """Fresh transitions that are sampled from at most: the oldest episodes go first."""
    max_age: ranges.StepsOrAll = None
    """Environment steps after which an episode is no longer sampled from."""
    min_return: ranges.Return = None
    """Episodes of a lower return are not sampled from."""

    def __post_init__(self) -> None:
        hold(self)
        if self.final_share is not None and self.share is None:
            raise RunError("--final-share: needs a --share to begin with; found all.")
        if self.learning_starts >= self.env_steps:
            raise RunError(
                f"--learning-starts: found {self.learning_starts}, but the run ends after {self.env_steps} environment "
                "steps (--env-steps): nothing would be learned."
            )
        steps = gradient_steps(self.env_steps, self.learning_starts, self.updates_per_step)
        if not 1 <= steps <= ranges.MOST_STEPS:
            raise RunError(
                f"--updates-per-step: {self.updates_per_step:g} for each of {self.env_steps - self.learning_starts:,} "
                f"environment steps make {steps:,} gradient steps, expected 1 to {ranges.MOST_STEPS:g}; change it, or "
                "--env-steps."
            )

    def limiter(self, chunk_steps: int, runners: int) -> SamplesToInserts:
        """Raises `RunError` for bounds that could stop the run."""
        if not 1 <= runners <= ranges.MOST_ACTORS:
            raise RunError(
                f"--runners: found {runners}, expected 1 to {ranges.MOST_ACTORS:,}: nobody else gathers fresh data."
            )
        rollout = runners * self.envs_per_runner * self.rollout_steps
        least = (chunk_steps / self.updates_per_step + rollout) / 2
        limiter = SamplesToInserts(
            self.updates_per_step, self.learning_starts, 2 * least if self.slack is None else self.slack
        )
        limiter.check(chunk_steps, rollout)
        return limiter


@dataclass(frozen=True)
class Role:
    """How many actors of a role, and what each is given."""

    count: ranges.Actors = 1
    num_cpus: ranges.Amount = 1.0
    num_gpus: ranges.Amount = 0.0
    resources: Annotated[dict[str, float], Range(0, ranges.MOST_RESOURCES)] = field(default_factory=dict)
    """Custom Ray resources, to pin a role to a kind of node."""

    def __post_init__(self) -> None:
        hold(self, str)
        for name, amount in {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, **self.resources}.items():
            if 0.0 < amount < ranges.LEAST_SHARE:
                raise RunError(
                    f"{name}: found {amount:g}, expected 0, or at least {ranges.LEAST_SHARE:g}, which is what Ray "
                    "counts in."
                )


@dataclass(frozen=True)
class Topology:
    """Who runs where. It changes speed, never results."""

    serial: bool = False
    address: Annotated[str | None, ADDRESS] = None
    """None starts Ray on this machine; `auto` or an address joins a running cluster."""
    replay_shards: Role = Role(count=1, num_cpus=0.5)
    bellman_updaters: Role = Role(count=0)
    learners: Role = Role(count=1)
    evaluators: Role = Role(count=1, num_cpus=0.5)
    env_runners: Role = Role(count=1, num_cpus=0.5)
    """Of fine-tuning only, as is the next."""
    online_writers: Role = Role(count=1, num_cpus=0.1)
    stage: Annotated[str | None, PATH] = None
    """A folder on each node's own disk to which shards are copied and verified first."""
    allow_mixed: bool = False
    """Accept updaters on another kind of processor than the learner's: results are then not bit-identical."""
    max_restarts: ranges.Restarts = 3
    """How often a dead learner is restarted from the last checkpoint."""
    late_chunk_seconds: ranges.Seconds = 30.0
    """A chunk later than this, and than three times the median, is given to a second updater too."""
    env_timeout: ranges.EnvTimeout = 600.0
    """Seconds that one call of an environment, such as a step, may take; 0: as long as it likes."""

    def __post_init__(self) -> None:
        hold(self)
        if self.serial and self.learners.count > 1:
            raise RunError("--learners: several learners are several processes; leave out --serial.")
        if self.replay_shards.count < 1 or self.learners.count < 1:
            raise RunError("--shards and --learners: expected at least 1 of each.")


@dataclass(frozen=True)
class Cadence(Held):
    """When a run reports and saves, in gradient steps; each falls on the next chunk boundary. Never changes results."""

    log_every: ranges.StepsOrNone = 500
    validate_every: ranges.StepsOrNone = 1_000
    checkpoint_every: ranges.StepsOrNone = 10_000
    keep: ranges.Keep = 3
    """Checkpoints kept: the newest ones, and always the best evaluated one."""
    eval_every: ranges.StepsOrNone = 0
    """0 evaluates before the first and after the last step only (when there is an environment)."""
    eval_episodes: ranges.EpisodesOrNone = 20
    eval_stochastic: bool = False
    """Evaluations draw actions from the policy instead of taking its mode."""


def as_json(record: Any) -> dict[str, Any]:
    """A frozen options dataclass as plain JSON types."""
    return dataclasses.asdict(record)
