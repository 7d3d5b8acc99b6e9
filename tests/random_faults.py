"""Faults made by chance, by seed: for mutation.py --random. Each changes one operator, constant or condition of a line of the sources."""
import os
import random
import re

FOLDERS = ["devices", "replay", "vmm"]
# What the fast tests cannot judge: the hardware engine, which needs a KVM; and hints for generators, of which none is wrong.
LEFT_OUT = re.compile(r"^vmm/kvm/|_model\.cc$")

# What is a place for a fault, and what may stand there instead. In code alone: not in comments, texts, includes or macros.
SWAPS = [
    (r" == ", [" != "]), (r" != ", [" == "]), (r" < ", [" <= ", " >= "]), (r" <= ", [" < ", " > "]), (r" > ", [" >= ", " <= "]),
    (r" >= ", [" > ", " < "]), (r" && ", [" || "]), (r" \|\| ", [" && "]), (r" \+ ", [" - "]), (r" - ", [" + "]), (r" & ", [" | "]),
    (r" \| ", [" & ", " ^ "]), (r" << ", [" >> "]), (r" >> ", [" << "]), (r" \^ ", [" | "]), (r" \+= ", [" -= "]), (r" -= ", [" += "]),
    (r" \|= ", [" &= ", " ^= "]), (r" &= ", [" |= "]), (r"\btrue\b", ["false"]), (r"\bfalse\b", ["true"]), (r"(?<=[ (])!(?=[\w(])", [""]),
    (r"(?<![\w.'])\d+(?![\w.'])", ["+1", "-1"]), (r"(?<![\w.'])0x[0-9a-f]+(?![\w.'])", ["^1", "<<1"]),
]


def code_of(line):
    """The line with what is no code blanked, so that columns stay."""
    line = re.sub(r'"(?:[^"\\]|\\.)*"', lambda m: " " * len(m[0]), line)
    line = re.sub(r"'(?:[^'\\]|\\.)+'", lambda m: " " * len(m[0]), line)
    return re.sub(r"//.*", lambda m: " " * len(m[0]), line)


def sources(tree):
    for folder in FOLDERS:
        for path, _, names in os.walk(os.path.join(tree, folder)):
            for name in sorted(names):
                relative = os.path.relpath(os.path.join(path, name), tree)
                if name.endswith(".cc") and not LEFT_OUT.search(relative):
                    yield relative


def replaced(old, new):
    if new in ("+1", "-1"):
        return str(max(0, int(old) + int(new)))
    if new == "^1":
        return hex(int(old, 16) ^ 1)
    if new == "<<1":
        return hex(int(old, 16) << 1)
    return new


def candidates(text):
    for number, line in enumerate(text.split("\n")):
        code = code_of(line)
        declares = re.match(r"\s*(#|static_assert|template|using|case |namespace|CHECK|.*\boperator)", code) or line.endswith("\\")
        if declares or re.search(r"<[^<>]*(?:>|,)", code):
            continue
        for pattern, instead in SWAPS:
            for m in re.finditer(pattern, code):
                yield number, m.start(), m.end(), [r for r in (replaced(m[0], n) for n in instead) if r != m[0]]


def make(tree, seed, count, only=""):
    """Distinct faults as (file, line number from 1, old line, new line)."""
    choice = random.Random(seed)
    files = sorted(f for f in sources(tree) if only in f)
    texts = {}
    for f in files:
        with open(os.path.join(tree, f), encoding="utf-8") as file:
            texts[f] = file.read()
    weights = [texts[f].count("\n") for f in files]
    found = {}
    while len(found) < count:
        f = choice.choices(files, weights)[0]
        places = list(candidates(texts[f]))
        if not places:
            continue
        number, start, end, instead = choice.choice(places)
        if not instead:
            continue
        old = texts[f].split("\n")[number]
        new = old[:start] + choice.choice(instead) + old[end:]
        found.setdefault((f, number + 1, new), (f, number + 1, old, new))
    return list(found.values())
