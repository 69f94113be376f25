#!/usr/bin/env python3
"""Hold the sources to the limits that CONTRIBUTING.md states.

Functions of at most 80 lines (150 in the twins under src/kernel) and files of
at most 800; getenv only in src/cli; GLIA_HAVE_* only in src/device, src/comm and
src/kernel/kernels.c; no #if 0, no code in comments, no long function-like macro
with a body; a header comment that names its file; no tabs, trailing blanks or
characters that do not show; every path that a document names exists and every
folder of src/ is named in one; commit subjects without a full stop.

Prints one line per breach, "file:line: what", and fails when there is one.
"""
import pathlib
import re
import subprocess
import sys
import unicodedata

FUNCTION_LINES, TWIN_LINES, FILE_LINES, MACRO_LINES = 80, 150, 800, 3

# "file:function": why it is better long. At most five.
EXCEPTIONS = {}

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
SUFFIXES = {".c", ".h", ".cu", ".cuh"}
# Control, format, private, unassigned, surrogate, and blanks other than U+0020.
ODD_CATEGORIES = {"Cc", "Cf", "Co", "Cn", "Cs", "Zs", "Zl", "Zp"}

breaches = []


def breach(path, line, what):
    breaches.append(f"{path.relative_to(ROOT)}:{line}: {what}")


def blank_out(text, keep_comments=False):
    """The same text with strings, characters and comments replaced by blanks,
    line by line, so that braces and words left in it are code."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        if keep_comments and match[0].startswith("/"):
            return match[0]
        return re.sub(r"[^\n]", " ", match[0])

    return token.sub(blank, text)


def functions(code):
    """(name, first line, last line) of every function body at file level."""
    code = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", lambda m: re.sub(r"[^\n]", " ", m[0]), code, flags=re.M)
    # extern "C" { does not open a body: its string is blank by now.
    code = re.sub(r"\bextern\s*\{", lambda m: re.sub(r"[^\n]", " ", m[0]), code)
    depth, start, since = 0, 0, 0
    for at, char in enumerate(code):
        if char == "{":
            if depth == 0:
                start = at
            depth += 1
        elif char == "}":
            depth = max(0, depth - 1)
            if depth == 0:
                head = re.sub(r"__attribute__\s*\(\(.*?\)\)\s", lambda m: re.sub(r"[^\n]", " ", m[0]),
                              code[since:start], flags=re.S)
                name = re.search(r"([A-Za-z_]\w*)\s*\([^;{}]*\)\s*$", head, re.S)
                if name and "=" not in head[:name.start()]:
                    begin = since + len(head) - len(head.lstrip())
                    yield name[1], code.count("\n", 0, begin) + 1, code.count("\n", 0, at) + 1
                since = at + 1
        elif char == ";" and depth == 0:
            since = at + 1


def check_characters(path, text):
    for number, line in enumerate(text.split("\n"), 1):
        if line.endswith((" ", "\t", "\r")):
            breach(path, number, "blank at the end of the line")
        for char in line:
            if char in "\t ":
                continue
            if unicodedata.category(char) in ODD_CATEGORIES or char == "\ufffd":
                breach(path, number, f"character U+{ord(char):04X}, which does not show; write it as an escape")


def check_macros(path, text):
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if re.match(r"\s*#\s*define\s+\w+\(", line):
            end = number
            while lines[end - 1].endswith("\\") and end < len(lines):
                end += 1
            body = "\n".join(lines[number - 1:end])
            if "{" in body and end - number + 1 > MACRO_LINES:
                breach(path, number, f"function-like macro with a body of {end - number + 1} lines; "
                       f"the limit is {MACRO_LINES}, write a function")


def check_commented_code(path, text):
    """A comment line that ends like a statement, twice in a row, is code."""
    previous = False
    for match in re.finditer(r"/\*.*?\*/|//[^\n]*", blank_out(text, keep_comments=True), re.S):
        first = text.count("\n", 0, match.start()) + 1
        for offset, line in enumerate(match[0].strip("/*").split("\n")):
            line = line.strip().lstrip("*").strip()
            code = bool(re.match(r"(?:(?:const |static |unsigned )*\w+[ *]+\w+(?:\[.*\])? = .*;|[\w.>\[\]-]+ [-+*/|&]?= .*;"
                                 r"|(?:return|goto|break|continue)\b.*;|\w+\(.*\);|(?:if|for|while) \(.*\) ?\{|\})$", line))
            if code and previous:
                breach(path, first + offset, "code in a comment; delete it, git remembers")
            previous = code


def check_c(path, text):
    inside = path.relative_to(ROOT).parts
    place = "/".join(inside)
    lines = text.split("\n")
    n_lines = len(lines) - (lines[-1] == "")
    if n_lines > FILE_LINES:
        breach(path, n_lines, f"file of {n_lines} lines; the limit is {FILE_LINES}")
    if not text.startswith(f"/* {path.name} - ") and not (
            path.suffix == ".c" and text.startswith(f"/* {path.name} - see ")) and not re.match(
                r"#define _GNU_SOURCE\n/\* " + re.escape(path.name) + " - ", text):
        breach(path, 1, f'the file does not begin with a comment "/* {path.name} - what it is"')
    if "\t" in text:
        breach(path, text[:text.index("\t")].count("\n") + 1, "tab; this house indents by four blanks")
    code = blank_out(text)
    limit = TWIN_LINES if place.startswith("src/kernel/") else FUNCTION_LINES
    for name, first, last in functions(code):
        if last - first + 1 > limit and f"{place}:{name}" not in EXCEPTIONS:
            breach(path, first, f"{name}() has {last - first + 1} lines; the limit is {limit}")
    for number, line in enumerate(code.split("\n"), 1):
        if re.search(r"\b(?:secure_)?getenv\s*\(", line) and inside[0] == "src" and inside[1] != "cli":
            breach(path, number, "getenv outside src/cli: a hidden knob; make it an option")
        if re.match(r"\s*#\s*if\s+[01]\b", line):
            breach(path, number, "#if 0 or #if 1: delete what does not run")
        if (re.search(r"\bGLIA_HAVE_\w+", line) and inside[0] == "src" and inside[1] not in ("device", "comm")
                and place != "src/kernel/kernels.c"):
            breach(path, number, "GLIA_HAVE_* outside src/device, src/comm and src/kernel/kernels.c")
    if inside[0] != "tests":
        check_macros(path, text)
    check_commented_code(path, text)


def check_document(path, text, known):
    """Paths in backticks or links that begin with a folder of ours, and bare names of
    C files and documents. Other projects' .py files may be cited."""
    spoken = re.sub(r"^```.*?^```", lambda m: re.sub(r"[^\n]", "", m[0]), text, flags=re.M | re.S)
    for match in re.finditer(r"`([^`\n]+)`|\]\(([^)\s]+)\)", spoken):
        name = (match[1] or match[2]).split("#")[0].strip()
        name = re.sub(r"^\./", "", name)
        if not re.fullmatch(r"[\w.+/{},*-]+", name) or name.startswith(("/", "http", "build", "..")):
            continue
        in_tree = name.split("/")[0] in known and "/" in name
        placeholder = re.search(r"[A-Z]", name) and not name.endswith(".md") and name != "src/LAYERS"
        if placeholder or not (in_tree or re.fullmatch(r"[^/]+\.(?:c|h|md|cu)", name)):
            continue
        for one in expand(name):
            if not any(ROOT.glob(one)) and not any(ROOT.rglob(one)):
                breach(path, spoken.count("\n", 0, match.start()) + 1, f"names {one}, which does not exist")


def expand(name):
    match = re.search(r"\{([^{}]*)\}", name)
    if not match:
        return [name]
    return [one for part in match[1].split(",")
            for one in expand(name[:match.start()] + part + name[match.end():])]


def git(*words):
    try:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True,
                              check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def main():
    tracked = git("ls-files", "-co", "--exclude-standard")
    if tracked is None:
        files = [p for p in ROOT.rglob("*") if p.is_file() and p.relative_to(ROOT).parts[0] not in ("build", ".git")]
    else:
        files = [ROOT / name for name in tracked.splitlines() if (ROOT / name).is_file()]
    known = {p.relative_to(ROOT).parts[0] for p in files if len(p.relative_to(ROOT).parts) > 1}
    documents, n_c = "", 0
    for path in sorted(files):
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(("tests/golden/", "tests/fuzz/corpus/", "models/")):
            continue
        is_text = (path.suffix in SUFFIXES | {".md", ".py", ".sh"} or path.name in ("Makefile", "LAYERS", "run")
                   or place.startswith("tools/"))
        if not is_text:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as why:
            breach(path, 1, f"not UTF-8: {why}")
            continue
        check_characters(path, text)
        if path.suffix in SUFFIXES:
            n_c += 1
            check_c(path, text)
        if path.suffix == ".md":
            documents += text
            check_document(path, text, known)
    if len(EXCEPTIONS) > 5:
        breach(pathlib.Path(__file__).resolve(), 1, f"{len(EXCEPTIONS)} exceptions; the limit is 5")
    src = ROOT / "src"
    for folder in sorted(p for p in src.iterdir() if p.is_dir() and any(p.iterdir())) if src.is_dir() else []:
        if not re.search(rf"\b(?:src/)?{folder.name}/", documents):
            breach(folder, 0, "no document names this folder")
    for line in (git("log", "--format=%h %s") or "").splitlines():
        commit, _, subject = line.partition(" ")
        if subject.endswith(".") and not subject.endswith("..."):
            breaches.append(f"commit {commit}: subject ends in a full stop: {subject}")
    print("\n".join(breaches) if breaches else f"style: ok, {n_c} C files")
    return bool(breaches)


sys.exit(main())
