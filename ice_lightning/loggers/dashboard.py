"""`python -m ice_lightning.loggers.dashboard`: a Weights & Biases workspace that shows the verdict first.

Offline it writes the workspace's specification, which shows what would be sent.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ice_lightning.checks import NotFound, problem
from ice_lightning.files import write_json
from ice_lightning.progress import exit_status

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace


def workspace(entity: str, project: str) -> Workspace:
    """The workspace of a project, its keys being those that runs log.

    Args:
        entity: a team, or a user.
        project: of it.

    Raises:
        IceError: where wandb-workspaces isn't installed.
    """
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        fix = 'run pip install "ice_lightning[ui]"'
        raise problem("the package wandb-workspaces", "none", fix, NotFound) from error

    def bars(title: str, *metrics: str) -> Any:
        return panels.BarPlot(title=title, metrics=list(metrics), groupby=panels.Config("criterion.name"))

    def line(title: str, metric: str, log: bool = False) -> Any:
        return panels.LinePlot(title=title, x="trainer/global_step", y=[metric], log_y=log, title_x="pass")

    sections = [
        ws.Section(
            name="Verdict: what a classifier looks at",
            panels=[
                panels.MediaBrowser(title="flip rates and controls", media_keys=["verdict"], num_columns=1),
                panels.WeavePanelSummaryTable(table_name="table/verdict"),
                bars("people who flip, and by chance", "flip_rate", "control/random"),
                bars("how often it beats a random subspace", "score"),
                bars("effort, population deviations", "effort"),
            ],
            is_open=True,
        ),
        ws.Section(
            name="Counterfactuals",
            panels=[
                panels.MediaBrowser(title="least effort first", media_keys=["counterfactuals"], num_columns=1),
                bars("identity kept (cosine)", "identity_cosine"),
                bars("other attributes that change (MNAC)", "mnac"),
            ],
            is_open=True,
        ),
        ws.Section(
            name="Subspaces",
            panels=[
                panels.MediaBrowser(title="the strongest direction", media_keys=["traversal"], num_columns=1),
                panels.MediaBrowser(title="eigenvalues", media_keys=["spectrum"], num_columns=2),
                line("residual of each pass", "pass/residual", log=True),
                line("activated energy of each pass", "pass/energy"),
                bars("energy that the directions explain", "explained_energy"),
            ],
            is_open=True,
        ),
        ws.Section(name="People", panels=[panels.WeavePanelSummaryTable(table_name="table/people")]),
        ws.Section(
            name="Costs",
            panels=[bars("products a person", "products_per_person"), bars("peak memory, MB", "peak_memory_mb")],
        ),
    ]
    return ws.Workspace(entity=entity, project=project, name="ice_lightning", sections=sections)


def specification(made: Workspace) -> dict[str, Any]:
    """What is sent to the server; the package has no public name for it."""
    spec: dict[str, Any] = made._to_model().model_dump(by_alias=True, exclude_none=True, mode="json")
    return spec


def main() -> int:
    """Run the command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ice_lightning.loggers.dashboard", description=__doc__)
    parser.add_argument("--entity", default=None, help="a team or your own name; by default that of the account")
    parser.add_argument("--project", default="ice_lightning")
    parser.add_argument("--offline", metavar="FILE", type=Path, help="write the specification there, send nothing")
    args = parser.parse_args()
    return exit_status(lambda: save(args))


def save(args: argparse.Namespace) -> int:
    """Write the workspace where the command line says; returns 0.

    Raises:
        IceError: without an account, or where the server can't be reached.
    """
    if args.offline is not None:
        spec = specification(workspace(args.entity or "you", args.project))
        write_json(args.offline, spec, indent=1)
        print(args.offline)
        return 0
    import wandb

    from ice_lightning.loggers.wandb import account

    if not account():
        fix = "run `wandb login` first, or write the specification with --offline FILE"
        raise problem("a Weights & Biases account", "none", fix)
    try:
        entity = args.entity or str(wandb.Api().default_entity)
        print(workspace(entity, args.project).save().url)
    except (wandb.Error, OSError) as error:
        fix = "try again later, or write the specification with --offline FILE"
        raise problem("an answer of Weights & Biases", " ".join(str(error).split()), fix) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
