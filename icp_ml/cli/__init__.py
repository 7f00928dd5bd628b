"""The command line: parses, reads TOML, calls the library; heavy imports wait until a command runs."""

from __future__ import annotations

import click

from icp_ml import __version__
from icp_ml.cli.demo import demo
from icp_ml.cli.group import Commands
from icp_ml.cli.learning import evaluate, train
from icp_ml.cli.lifecycle import audit, history, retrain, rollback
from icp_ml.cli.monitoring import monitor
from icp_ml.cli.using import profile, report, score

HELP = """Learn an ideal customer profile from what happened after the sale.

\b
Begin with:
  icp-ml demo                             the whole line on a bundled account base
  icp-ml audit --config icp.toml          look at your tables, without training
  icp-ml retrain --config icp.toml        the whole line on your tables
  icp-ml score --config icp.toml          score the base with the champion

\b
Exit codes: 0 done, 1 a fault, 2 bad input, 3 trained but not promoted (retrain),
an alarm (monitor) or a suspicion (audit).
"""


@click.group(cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="icp-ml")
def main() -> None:
    """Hold the commands."""


for _command in (demo, audit, retrain, history, rollback, train, evaluate, profile, score, report, monitor):
    main.add_command(_command)
