#!/usr/bin/env bash
# The whole way, without downloads: logs of a scripted robot, a new task for them, two policies, a report.
# `make demo` runs it; it writes runs/demo, or the folder that is its argument. STEPS=2000 makes it shorter.
set -euo pipefail

demo=${1:-runs/demo}
steps=${STEPS:-8000}
# The task: from a random place to the far end, within 150 steps. The policy sees where it is and how fast, no goal.
task=(--env PointMaze_UMaze-v3 --env-kwargs '{"max_episode_steps": 150}' --reset-options '{"goal_cell": [3, 1]}'
    --observation-key observation)
here=$(dirname "${BASH_SOURCE[0]}")
export PYTHONWARNINGS=ignore

if [ $# -eq 0 ]; then
    rm -rf runs/demo # the last demo's
elif [ -e "$demo" ]; then
    echo "$demo exists already; name another folder." >&2
    exit 2
fi
mkdir -p "$demo"

show() {
    printf '\n\033[1m%s\033[0m\n' "$1"
    shift
    echo "\$ ${*@Q}" | sed -E "s/'([A-Za-z0-9_.:\/=-]+)'/\1/g"
    "$@"
}

show "1. Logs: a scripted controller goes to random goals in the U maze, with noise on its actions." \
    quiver collect --env PointMaze_UMaze-v3 --policy scripted --episodes 300 --noise 0.5 --seed 0 --out "$demo/logs"

show "2. A dataset: the goals are stripped off, and a reward for reaching the far end is given in hindsight." \
    quiver ingest "$demo/logs" --out "$demo/far-end" --observation observation \
    --reward "$here/far_goal.py:reach_far_end"

show "   What is in it:" quiver inspect "$demo/far-end" --verify

show "3. Behaviour cloning, the control: it does what the logs do, which is to go everywhere." \
    quiver train --dataset "$demo/far-end" --algo bc --run "$demo/bc" --steps "$steps" --serial "${task[@]}"

show "4. Implicit Q-learning on a local Ray cluster: two replay shards, a Bellman updater, a learner." \
    quiver train --dataset "$demo/far-end" --algo iql --run "$demo/iql" --steps "$steps" --expectile 0.9 \
    --temperature 100 --shards 2 --updaters 1 --eval-every $((steps / 4)) "${task[@]}"


printf '\n\033[1m%s\033[0m\n' "5. Both policies, on starts that neither was scored on before."
for name in bc iql; do
    echo "\$ quiver evaluate $demo/$name --episodes 50 --seed 1000 --json"
    quiver evaluate "$demo/$name" --episodes 50 --seed 1000 --json | tee "$demo/$name.json"
done

show "6. The report." quiver report "$demo/iql"

python - "$demo" <<'PYTHON'
import json
import sys
from pathlib import Path

demo = Path(sys.argv[1])
untrained = json.loads((demo / "iql/summary.json").read_text())["evaluations"][0]
rows = [("untrained", untrained)]
rows += [(name, json.loads((demo / file).read_text())) for name, file in (("behaviour cloning", "bc.json"), ("IQL", "iql.json"))]
print("\nReaching the far end of the U maze, from logs that were about other goals:\n")
print(f"  {'policy':<20} {'success':>8} {'episodes':>9}")
for name, found in rows:
    print(f"  {name:<20} {found['success_rate']:>8.0%} {found['episodes']:>9}")
checkpoint = (demo / "iql/checkpoints/LATEST").read_text().strip()
print(f"\n  report      {demo / 'iql/report.html'}\n  checkpoint  {demo / 'iql/checkpoints' / checkpoint}")
PYTHON
