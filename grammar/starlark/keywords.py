"""Words that are no names (Starlark spec, "Lexical elements")."""

KEYWORDS = (
    "and",
    "break",
    "continue",
    "def",
    "elif",
    "else",
    "for",
    "if",
    "in",
    "lambda",
    "load",
    "not",
    "or",
    "pass",
    "return",
)

# What is reserved for Python, with what is said about it.
RESERVED = {
    "import": "Starlark has no 'import'",
    "from": "Starlark has no 'from … import'",
    "class": "Starlark has no classes",
    "while": "Starlark has no 'while': use 'for'",
    "try": "Starlark has no exceptions",
    "except": "Starlark has no exceptions",
    "raise": "Starlark has no exceptions: use fail()",
    "with": "Starlark has no 'with'",
    "global": "Starlark has no 'global'",
    "nonlocal": "Starlark has no 'nonlocal'",
    "yield": "Starlark has no generators",
    "async": "Starlark has no 'async'",
    "await": "Starlark has no 'await'",
    "del": "Starlark has no 'del'",
    "assert": "Starlark has no 'assert': use fail()",
    "is": "Starlark has no 'is': use '=='",
    "finally": "Starlark has no exceptions",
    "as": "'as' is a reserved word",
}
