"""Starlark spec, "Lexical elements": tokens, literals, indentation."""

from __future__ import annotations

import pytest

from grammar.errors import SpecError
from grammar.starlark.keywords import KEYWORDS, RESERVED
from tests.unit.starlark_cases import check, check_program, lines, programs, run, value

INTEGERS = r"""
0 -> 0
123 -> 123
0x7f -> 127
0X7F -> 127
0xDEADbeef -> 3735928559
0o755 -> 493
0O17 -> 15
0b1011 -> 11
0B1 -> 1
123456789012345678901234567890 -> 123456789012345678901234567890
0xffffffffffffffffffff -> 1208925819614629174706175
00 !! leading zeros
01 !! leading zeros
0755 !! 0o755
08 !! leading zeros
0x !! unexpected 'x'
0o8 !! unexpected 'o8'
0b2 !! unexpected 'b2'
1_000 !! unexpected '_000'
1a !! unexpected 'a'
0xg !! unexpected 'xg'
"""

FLOATS = r"""
0.0 -> 0.0
0. -> 0.0
.5 -> 0.5
1. -> 1.0
1.5 -> 1.5
1e10 -> 1e+10
1E10 -> 1e+10
1e+10 -> 1e+10
1e-10 -> 1e-10
1.1e10 -> 1.1e+10
.5e1 -> 5.0
1.e1 -> 10.0
01.5 -> 1.5
1e0 -> 1.0
-0.0 -> -0.0
1.7976931348623157e308 -> 1.7976931348623157e+308
1e308 -> 1e+308
5e-324 -> 5e-324
1e-400 -> 0.0
1e309 !! too large
1e999999 !! too large
1e !! unexpected 'e'
. !! unexpected '.'
"""

STRINGS = r"""
"abc" -> "abc"
'abc' -> "abc"
'a"b' -> "a\"b"
"a'b" -> "a'b"
"a\"b" -> "a\"b"
'it\'s' -> "it's"
'' -> ""
'''''' -> ""
'''a'b''c''' -> "a'b''c"
'''a\'''b''' -> "a'''b"
len("\a\b\f\n\r\t\v\\") -> 8
"\a\b\f\n\r\t\v\\" -> "\a\b\f\n\r\t\v\\"
'\0' -> "\x00"
'\12' -> "\n"
'\101-\132' -> "A-Z"
'\119' -> "\t9"
'\x00' -> "\x00"
'\x0A' -> "\n"
"\x41-\x5A" -> "A-Z"
'\u0041' -> "A"
'\u0414' -> "Д"
'\u754c' -> "界"
'\U0001F600' -> "😀"
r"a\nb" -> "a\\nb"
r'a\'b' -> "a\\'b"
r"\"" -> "\\\""
r'\\' -> "\\\\"
len(r'\x') -> 2
"Ünïcödé" -> "Ünïcödé"
"\d" !! invalid escape
"\8" !! invalid escape
"\x4" !! truncated escape
"\xg0" !! truncated escape
"\u123" !! truncated escape
"\U0001F60" !! truncated escape
"\x80" !! not an ASCII character
"\377" !! not an ASCII character
"\200" !! not an ASCII character
"\ud800" !! not a Unicode code point
"\udfff" !! not a Unicode code point
"\U00110000" !! not a Unicode code point
"abc !! does not end
'abc !! does not end
'''abc !! does not end
f'a' !! no f-strings
R'a' !! unexpected string
"a" "b" !! two strings side by side
"""

BYTES = r"""
b"abc" -> b"abc"
b'abc' -> b"abc"
b'''a"b''' -> b"a\"b"
br"a\n" -> b"a\\n"
rb'a\n' -> b"a\\n"
b"\x80\xff" -> b"\x80\xff"
b"\377" -> b"\xff"
b"\0" -> b"\x00"
b"\u00e9" == b"é" -> True
b"é" -> b"é"
len(b"é") -> 2
len(b"😀") -> 4
b"\U0001F600" == b"😀" -> True
b"\400" !! not a byte
b"\ud800" !! not a Unicode code point
b"\q" !! invalid escape
"""

WORDS = r"""
x11 = 1
x11 -> 1
---
_ = 1
_ -> 1
---
größe = 2
größe -> 2
---
Δx2 = 3
Δx2 -> 3
---
a² = 1
!! is not a valid name
---
index = 1; starts_with = 2; imports = 3; classy = 4; iffy = 5
[index, imports, classy] -> [1, 3, 4]
---
print_ = 1
print_ -> 1
"""

LAYOUT = r"""
# a comment
x = 1 # another
# '''
x -> 1
---
x = 1;
x -> 1
---
x = 1; y = 2
(x, y) -> (1, 2)
---
x = (1 +
     2
  + 3)
x -> 6
---
x = [
1,
	2,
      # comment, with a tab above
  3,

]
x -> [1, 2, 3]
---
x = 1 + \
    2
x -> 3
---
def f():
  a = 1

  # comment
# comment at the margin
  	  # with a tab
  return a
f() -> 1
---
def f():
    if True:
          return 1
    else:
     return 2
f() -> 1
---
def f(): return 1
f() -> 1
---
def f():
    pass; return 3
f() -> 3
---
x = '''a
b'''
x -> "a\nb"
---
x = 'a\
b'
x -> "ab"
---
x = r'a\
b'
x -> "a\\\nb"
---
x=1;;y=2
!! unexpected ';' @1:5
---
;
!! unexpected ';'
---
 x = 1
!! unexpected indentation @1:2
---
x = 1
 y = 2
!! unexpected indentation
---
def f():
x = 1
!! indented block @2:1
---
def f():
    x = 1
  y = 2
!! fits no block @3:3
---
def f():
	return 1
!! tab @2:1
---
def f():
    if True:
    	return 1
!! tab @3:5
---
x = (1, 2
y = 3
!! unexpected 'y'
---
x = [1, 2
!! never closed @1:5
---
x = (1]
!! does not close the '(' of line 1 @1:7
---
x = 1)
!! it closes nothing @1:6
---
x = 1 \ 
y = 2
!! unexpected character '\' @1:7
---
x = 1 \

!! unexpected
---
x = 1 ? 2
!! unexpected character '?' @1:7
---
x = 1 ! 2
!! unexpected
---
x = $a
!! unexpected character '$' @1:5
"""


@pytest.mark.parametrize("line", lines(INTEGERS))
def test_integers(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", lines(FLOATS))
def test_floats(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", lines(STRINGS))
def test_strings(line: str) -> None:
    check(line)


@pytest.mark.parametrize("line", lines(BYTES))
def test_bytes(line: str) -> None:
    check(line)


@pytest.mark.parametrize("block", programs(WORDS))
def test_identifiers(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("block", programs(LAYOUT))
def test_layout(block: str) -> None:
    check_program(block)


@pytest.mark.parametrize("word", [*KEYWORDS, *RESERVED])
@pytest.mark.parametrize(
    "use", ["{} = 1", "x = [{}]", "def {}(): pass", "f({}=1)", "x.{}", "def f({}): pass", "[1 for {} in []]"]
)
def test_keywords_are_no_names(word: str, use: str) -> None:
    if (word, use) in {("lambda", "x = [{}]"), ("not", "x = [{}]")}:
        return  # an expression begins so: an error of its own
    with pytest.raises(SpecError):
        parse_only(use.format(word))


def parse_only(text: str) -> None:
    run(f"def f(**k): pass\nx = 1\n{text}\n" if "def f" not in text else text + "\n")


def test_line_endings() -> None:
    assert run("x = '''a\r\nb'''\r\ny = 1\r\n")["x"] == "a\nb"
    assert run("def f():\r\n  return 1\r\ny = f()\r\n")["y"] == 1
    assert run("def f():\r  return 1\ry = f()\r")["y"] == 1


def test_the_end_of_a_file() -> None:
    assert run("x = 1")["x"] == 1
    assert run("def f():\n  return 1")["f"].name == "f"
    assert run("x = 1\n\n   \n\t\n")["x"] == 1
    assert run("x = 1\n    # a comment")["x"] == 1
    assert run("") == {}
    assert run("# only a comment") == {}
    assert run("\ufeffx = 1\n")["x"] == 1


def test_what_is_in_no_token() -> None:
    for text in ("x = 1\0\n", "x = 'a\0'\n", "x = \f1\n", "x = \u00a01\n", "x = \ud800\n"):
        with pytest.raises(SpecError):
            run(text)
    assert value("'\f'") == '"\\f"'


def test_an_error_in_an_escape_points_at_it() -> None:
    with pytest.raises(SpecError) as caught:
        run("x = 'abc\\qd'\n")
    assert (caught.value.position.line, caught.value.position.column) == (1, 9)
    with pytest.raises(SpecError) as caught:
        run("x = '''a\nbc\\qd'''\n")
    assert (caught.value.position.line, caught.value.position.column) == (2, 3)
