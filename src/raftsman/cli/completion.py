"""``raftsman completion``: the scripts by which shells complete commands and options. click writes them."""

import click
from click.shell_completion import get_completion_class

from raftsman.cli.words import out

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_RAFTSMAN_COMPLETE"  # What click derives from the program's name, and looks at.


_HOW = """\b
bash:  eval "$(raftsman completion bash)"     in ~/.bashrc
zsh:   eval "$(raftsman completion zsh)"      in ~/.zshrc
fish:  raftsman completion fish > ~/.config/fish/completions/raftsman.fish
"""


@click.command(name="completion", epilog=_HOW)
@click.argument("shell", type=click.Choice(SHELLS))
def command(*, shell: str) -> None:
    """Print a script that makes a shell complete raftsman's commands and options."""
    root = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None
    out(kind(root, {}, "raftsman", _VARIABLE).source())
