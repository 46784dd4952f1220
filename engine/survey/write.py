"""What was decided -> the text of a build.envd."""

from __future__ import annotations

import json
from collections.abc import Sequence

from engine.survey.decide import Choice
from engine.survey.languages import Language

_HEAD = """\
# Written by `envd init`; it is yours to change. `envd build` builds the image, `envd up` starts it.
"""


def spec(choice: Choice) -> str:
    """The text of a build.envd that says `choice`."""
    parts = [_base(choice), *_toolchains(choice), *_packages(choice)]
    parts += [_r_or_julia(o) for o in choice.others if o.packages]
    if choice.apt:
        parts.append(
            "    # Libraries of the system that the Python packages use.\n"
            f"    install.apt_packages({_list(choice.apt)})\n"
        )
    if choice.cuda:
        parts.append(
            f"    # {_sentence(choice.cuda_why)}.\n"
            f'    install.cuda(version={_text(choice.cuda)}, cudnn="9")\n'
        )
    if choice.notebooks:
        parts.append(
            f"    # For {choice.notebooks}: Jupyter starts with the environment.\n    config.jupyter()\n"
        )
    if choice.shell != "bash":
        parts.append(f"    shell({_text(choice.shell)})\n")
    return _HEAD + "\n\ndef build():\n" + "\n".join(parts)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _list(values: Sequence[str]) -> str:
    short = f"[{', '.join(map(_text, values))}]"
    if len(short) <= 70:
        return short
    return "[\n" + "".join(f"        {_text(value)},\n" for value in values) + "    ]"


def _base(choice: Choice) -> str:
    language = {"python": "python3"}.get(choice.language, choice.language)
    of_conda = choice.conda and choice.language == "python"
    arguments = f"os={_text(choice.os)}"
    if language and not of_conda:
        arguments += f", language={_text(language)}"
    why = f"    # {choice.python_why}.\n" if choice.python_why else ""
    text = f"{why}    base({arguments})\n"
    if choice.python:
        text += f"    install.python(version={_text(choice.python)})\n"
    return text


def _toolchains(choice: Choice) -> list[str]:
    calls = []
    for other in choice.others:
        if other.name == choice.language:
            continue
        name = "r_lang" if other.name == "r" else other.name
        version = f"version={_text(other.version)}" if other.version else ""
        calls.append(f"    install.{name}({version})  # {other.why}\n")
    return ["".join(calls)] if calls else []


def _packages(choice: Choice) -> list[str]:
    parts = []
    if choice.conda:
        parts.append(
            f"    # conda's packages, and a Python if {choice.conda} names one.\n"
            f"    install.conda_packages(env_file={_text(choice.conda)})\n"
        )
    if choice.source is not None:
        kind, name = choice.source
        if kind == "packages":
            call = f"install.python_packages({_list(choice.packages)})"
            parts.append(f"    # From {name}.\n    {call}\n")
        else:
            what = {"uv_lock": "exactly what uv locked", "pylock": "exactly what is locked"}.get(
                kind, "what the project asks for"
            )
            parts.append(f"    # {_sentence(what)}.\n    install.python_packages({kind}={_text(name)})\n")
    elif choice.packages:
        parts.append(
            f'    # {_sentence(choice.packages_why)}; pin versions as pip does: "numpy>=2".\n'
            f"    install.python_packages({_list(choice.packages)})\n"
        )
    if choice.added:
        parts.append(
            f"    # Imported, but declared nowhere.\n    install.python_packages({_list(choice.added)})\n"
        )
    parts += _hints(choice)
    return parts


def _hints(choice: Choice) -> list[str]:
    parts = []
    if choice.undeclared:
        lines = "".join(f"    #     {_text(name)},  # {why}\n" for name, why in choice.undeclared)
        parts.append(
            "    # Imported too, but declared nowhere. Uncomment what is needed.\n"
            f"    # install.python_packages([\n{lines}    # ])\n"
        )
    if choice.optional:
        parts.append(
            "    # Imported where that may fail, so not installed:\n"
            + "".join(f"    #   {line}\n" for line in _wrapped(choice.optional))
        )
    if choice.also:
        parts.append(
            "    # More packages are named in:\n"
            + "".join(f"    #   {line}\n" for line in _wrapped(choice.also))
        )
    return parts


def _wrapped(names: Sequence[str]) -> list[str]:
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + len(name) > 70:
            lines.append("")
        lines[-1] += f", {name}" if lines[-1] else name
    return lines


def _r_or_julia(other: Language) -> str:
    return f"    # From {other.why}.\n    install.{other.name}_packages({_list(other.packages)})\n"
