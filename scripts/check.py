#!/usr/bin/env python3
"""Rules of the source that grep can see: include arrows, foreign headers, banned calls, function lengths, machine paths.

A line may be excused by a comment on it: `check: allow RULE, because …`.
"""
import re
import subprocess
import sys

# Each folder is one library and may include itself and these (docs/architecture.md).
ARROWS = {
    "base": (),
    "promql": ("base",),
    "planner": ("promql", "base"),
    "proto": (),
    "backend": ("planner", "promql", "base"),
    "remote": ("proto", "backend", "planner", "promql", "base"),
    "frontend": ("remote", "proto", "backend", "planner", "promql", "base"),
}
# A library of others is known to one place only.
FOREIGN = {
    r"duckdb\.h": r"^(backend/duckdb|bench/backend|tests/unit/backend)/",
    r"microhttpd\.h": r"^(frontend/server|tests/)",
    r"curl/curl\.h": r"^(remote/upstream|frontend/cmd_query|tests/|bench/load/)",
    r"snappy-c\.h": r"^(remote/|tests/|bench/)",
    r"yaml\.h": r"^frontend/",
}
# Never outside base/, which wraps them: unbounded, or without an error.
BANNED = ("strcpy", "strcat", "sprintf", "vsprintf", "gets", "strtok", "atoi", "atol", "atof", "alloca", "strncpy", "rand")
# Libraries do not talk and do not end the process: only the program does.
PROGRAM_ONLY = ("printf", "fprintf", "puts", "fputs", "perror", "exit", "abort")
SQL_BY_PRINTF = re.compile(r"printf\w*\(.*\"[^\"]*\b(SELECT|INSERT|UPDATE|DELETE|CREATE|WHERE|FROM)\b[^\"]*%")
MACHINE = re.compile(r"(?<![\w.])/(root|home|work)/[a-z]")
FUNCTION_LINES_MAX = 110  # a screen is about half of it; --lengths lists those above a screen
SCREEN_LINES = 60

problems = []


def excused(line, rule):
    return f"check: allow {rule}" in line


def report(path, number, text):
    problems.append(f"{path}:{number}: {text}")


def files():
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True).stdout
    return [path for path in out.splitlines() if not path.startswith(("build", ".deps"))]


def uncommented(text):
    """The code with comments and string contents blanked, line numbers kept."""

    def blank(match):
        kept = match.group(0)
        return re.sub(r"[^\n]", " ", kept) if kept.startswith(("/*", "//")) else '""'

    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", blank, text, flags=re.DOTALL)


def check_includes(path, lines):
    folder = path.split("/")[0]
    for number, line in enumerate(lines, 1):
        include = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
        if not include:
            continue
        target = include.group(1).split("/")[0]
        if folder in ARROWS and target in ARROWS and target != folder and target not in ARROWS[folder]:
            report(path, number, f"{folder}/ may not include {target}/")
        for header, places in FOREIGN.items():
            if re.fullmatch(header, include.group(1)) and not re.search(places, path):
                report(path, number, f"{include.group(1)} belongs to {places}")


def check_calls(path, lines, code):
    folder = path.split("/")[0]
    for number, line in enumerate(code, 1):
        for call in re.findall(r"(?<![\w.>])(\w+)\s*\(", line):
            if call in BANNED and folder != "base" and not excused(lines[number - 1], call):
                report(path, number, f"{call}() is banned")
            if call in PROGRAM_ONLY and folder in ARROWS and folder not in ("frontend", "base"):
                if not excused(lines[number - 1], call):
                    report(path, number, f"{call}() in a library: return an error instead")
    for number, line in enumerate(lines, 1):
        if SQL_BY_PRINTF.search(line) and not excused(line, "sql"):
            report(path, number, "SQL made by printf: use planner/sql.h")


def functions(code):
    """(name, first line, lines) of each function: a brace in the first column to the next closing one."""
    start = None
    for number, line in enumerate(code, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start:
            head = " ".join(code[max(0, start - 6) : start - 1]).split(";")[-1].split("}")[-1]
            name = re.search(r"(\w+)\s*\([^{]*$", head)
            first = re.findall(r"(\w+)\s*\(", head)
            yield (first[0] if first else name.group(1) if name else "?"), start, number - start
            start = None


def main():
    lengths = "--lengths" in sys.argv[1:]
    for path in files():
        try:
            text = open(path, encoding="utf-8").read()
        except (OSError, UnicodeDecodeError):
            continue
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if MACHINE.search(line) and not excused(line, "path"):
                report(path, number, "a path or host of one machine")
        if not path.endswith((".c", ".h", ".re", ".y")):
            continue
        check_includes(path, lines)
        if path.split("/")[0] in ARROWS:
            code = uncommented(text).split("\n")
            check_calls(path, lines, code)
            if path.endswith(".c"):
                for name, start, count in functions(code):
                    if count > FUNCTION_LINES_MAX:
                        report(path, start, f"{name}() has {count} lines; at most {FUNCTION_LINES_MAX}")
                    elif lengths and count > SCREEN_LINES:
                        print(f"{path}:{start}: {name}() has {count} lines")
    print("\n".join(problems))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
