"""How shells are spoken to: click's own scripts, and ours for bash."""

from __future__ import annotations

import os

from click.shell_completion import BashComplete, add_completion_class, split_arg_string

# click's own script, but for words with a colon ("name:tag"), at which bash breaks them: the
# command line goes over whole, and what stands before the last colon is taken off again.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value word
    word=${COMP_LINE:0:COMP_POINT}
    word=${word##*[[:space:]]}
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for completion in $response; do
        type=${completion%%%%,*}
        value=${completion#*,}
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        elif [[ $type == plain ]]; then
            if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
                value=${value#"${word%%:*}:"}
            fi
            COMPREPLY+=("$value")
        fi
    done
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Completion in bash."""

    source_template = _BASH

    @staticmethod
    def _check_version() -> None:
        """click starts a bash to ask for its version, at each completion."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        if not words or line[-1].isspace():
            return words, ""
        return words[:-1], words[-1]


add_completion_class(Bash)
