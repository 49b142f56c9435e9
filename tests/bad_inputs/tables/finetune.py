"""`quiver finetune`: options that do not fit, or not together."""

from __future__ import annotations

from tests.bad_inputs.rows import Row, table

_NEW = "finetune --algo iql --env Pendulum-v1 --run new --env-steps 16 --serial --hidden 8 --batch-size 4"
_FROM = "finetune --from {run} --run new --env-steps 16 --serial"

ROWS: list[Row] = [
    *table(
        _NEW,
        ("an unknown algorithm", "--algo iqn", r"found 'iqn', expected one of .*Did you mean 'iql'"),
        ("a run without a name", "--run ''", r"--run"),
        ("a share of text", "--share much", r"--share: found 'much'"),
        ("a share in another script", "--share ²", r"--share"),
        ("a share of no letters", "--share ''", r"--share"),
        ("a share above one", "--share 1.5", r"share"),
        ("a share below zero", "--share=-0.5", r"share"),
        ("a share of NaN", "--share nan", r"share"),
        ("a final share without a first", "--share all --final-share 0.5", r"--final-share"),
        ("starts after its end", "--learning-starts 100", r"--learning-starts"),
        ("no runners", "--runners 0", r"--runners"),
        ("runners below zero", "--runners=-1", r"--runners"),
        ("a returns' floor of NaN", "--min-return nan", r"min.return"),
        ("a slack too small", "--slack 0", r"--slack|slack"),
        ("a slack of NaN", "--slack nan", r"--slack"),
        ("no updates", "--updates-per-step 0", r"--updates-per-step"),
        ("updates without end", "--updates-per-step inf", r"--updates-per-step"),
        ("a thousand million updates a step", "--updates-per-step 1e9", r"--updates-per-step"),
        ("no capacity", "--capacity 0", r"--?capacity|max_transitions"),
        ("a capacity below zero", "--capacity=-5", r"--?capacity|max_transitions"),
        ("an age of zero", "--max-age 0", r"--max-age|max_age"),
        ("a noise below zero", "--noise=-1", r"noise"),
        ("a noise of NaN", "--noise nan", r"noise"),
        ("a probability above one", "--random-probability 1.5", r"random.probability"),
        ("a vectorization that is none", "--vectorization parallel", r"vectorization"),
        ("a vectorization that the environment has not", "--vectorization native", r"vectorization|native"),
        ("no environments", "--envs-per-runner 0", r"--envs-per-runner"),
        ("no patience", "--stalled-seconds 0", r"--stalled-seconds"),
        ("a patience of NaN", "--stalled-seconds nan", r"--stalled-seconds"),
        ("no such environment", "--env Pendulum-v9", r"Pendulum-v9"),
        ("arguments that are no JSON", "--env-kwargs '{{'", r"--env-kwargs"),
        ("no dataset there", "--dataset nowhere", r"nowhere"),
        ("a split without logs", "--split nosuch --dataset {data}", r"nosuch"),
        ("an expression that is none", "--where 'x >' --dataset {data}", r"where"),
        ("shards for a draw", "--shards-per-draw 1", r"--shards-per-draw"),
        ("a resume of nothing", "--resume", r"new"),
        ("a resume-from of nothing", "--resume-from step-1", r"--resume-from"),
    ),
    *table(
        _FROM,
        ("another algorithm", "--algo iql", r"--algo iql: .* trained bc"),
        ("no run there", "--from nowhere", r"nowhere"),
        ("a dataset for a run", "--from {data}", r"config\.json"),
        ("a checkpoint that is not there", "--checkpoint step-5", r"no checkpoint 'step-5'; found step"),
        ("a checkpoint that is none", "--checkpoint newest", r"no checkpoint 'newest'|--checkpoint: found 'newest'"),
        ("a checkpoint in another script", "--checkpoint step-²", r"no checkpoint 'step-²'|--checkpoint"),
    ),
    *table(
        "finetune --run new --env-steps 10 --serial",
        ("neither a run nor an algorithm", "", r"--from: is missing"),
        ("no environment", "--algo iql", r"--env: is missing"),
    ),
    *table(
        "finetune --resume --serial",
        ("a run of train", "--run {run}", r"quiver train --run .* --resume"),
        ("other options than before", "--run {fine} --batch-size 8", r"batch_size"),
        ("another environment", "--run {fine} --env MountainCarContinuous-v0", r"environment|MountainCar"),
        ("fewer steps than before", "--run {fine} --env-steps 2", r"steps"),
    ),
]
