#!/usr/bin/python3
"""Programs that are not ours as guests of Debian's kernel: python3, perl and bash of this host must say the same there as here, and
of Linux's own tests of x86 (tools/testing/selftests/x86) all that pass on hardware must pass. Recorded and replayed.
programs_test.py DEJAVM GUEST [SELFTESTS]   SELFTESTS: a folder for Linux's source and the tests built from it; without it they are left out"""
import os, re, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from user_guest import user_guest

dejavm, guest = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
selftests = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else None

BASH = r"""
set -e
declare -A seen
x=12345
for i in {1..3000}; do x=$(( (x * 1103515245 + 12345) & 0x7fffffff )); seen[$((x % 97))]+="${i},"; done
for k in "${!seen[@]}"; do echo "$k ${seen[$k]:0:40}"; done | sort -n
text="the quick brown fox jumps over the lazy dog"
for w in $text; do printf '%-8s %5d %x %s\n' "${w^^}" "${#w}" "$x" "${w//o/0}"; done
[[ $text =~ (q[a-z]+).*(l[a-z]+) ]] && echo "${BASH_REMATCH[@]}"
f() { local n=$1; if ((n < 2)); then echo "$n"; else echo $(( $(f $((n - 1))) + $(f $((n - 2))) )); fi; }
f 9
for s in 1 0 7; do (exit $s) && echo none || echo "status $?"; done
printf '%s\n' zeta alpha gamma | while read -r l; do echo "<$l>"; done
echo "$(( 2**62 )) $(( -7 / 2 )) $(( -7 % 3 )) $(( 0x7fffffffffffffff + 1 ))"
"""
PERL = r"""
use strict; use List::Util qw(sum max reduce); use POSIX qw(floor fmod strtol);
my ($x, %h) = (42);
for (1..20000) { $x = ($x * 69069 + 1) % 4294967296; $h{$x % 1009}++; }
print join(" ", map { "$_=$h{$_}" } (sort { $h{$b} <=> $h{$a} || $a <=> $b } keys %h)[0..20]), "\n";
print sum(map { sqrt $_ } 1..1000), " ", max(map { sin $_ } 1..100), "\n";
my $text = join "", map { chr(97 + ($_ * $_) % 26) } 1..2000;
my %words; $words{$1}++ while $text =~ /([aeiou][^aeiou]+)/g;
print join(",", map { "$_:$words{$_}" } sort keys %words), "\n";
print unpack("H*", pack("NnCdw", 123456789, 54321, 7, 3.14159, 1234567)), "\n";
printf "%.10g %e %s %b %o\n", 2 ** 0.5, 1 / 3, 1e100, 1023, 511;
print floor(-3.5), " ", fmod(10.5, 3), " ", join("|", sort { lc $a cmp lc $b } split //, "HelloWorld"), "\n";
my $n = reduce { $a * $b } 1..25; print "$n\n";
local $_ = "a1b22c333"; my @n = /(\d+)/g; print "@n ", tr/a-c/A-C/r, "\n";
"""
PYTHON = r"""
import collections, decimal, fractions, hashlib, json, math, random, re, struct, threading, unicodedata, zlib, itertools
random.seed(7)
data = bytes(random.randrange(256) for _ in range(200000))
for name in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b"): print(name, hashlib.new(name, data).hexdigest())
packed = zlib.compress(data * 2, 9)
print(zlib.crc32(data), zlib.adler32(data), zlib.decompress(packed) == data * 2)
print(sum(random.gauss(0, 1) for _ in range(2000)))
print([float("%.11g" % f(x / 7)) for f in (math.sin, math.cos, math.tan, math.exp, math.atan, math.gamma) for x in range(1, 12)])
print(sum(fractions.Fraction(1, n) for n in range(1, 60)), 3 ** 500 % (10 ** 40 + 7), math.factorial(80), pow(3, -1, 10 ** 9 + 7))
decimal.getcontext().prec = 60
print(decimal.Decimal(2).sqrt(), decimal.Decimal(1).exp(), decimal.Decimal(10).ln())
print(json.dumps({"a": [1, 2.5, None, True, "\u00e9\U0001f600"], "b": {str(n): n * n for n in range(9)}}, sort_keys=True))
words = re.findall(r"[a-z]+", " ".join("w%s" % chr(97 + n * n % 26) for n in range(500)))
print(collections.Counter(words).most_common(5), struct.pack(">IhdQ", 1, -2, 3.5, 2 ** 63).hex())
print([unicodedata.name(c) for c in "\u00e4\u20ac\u4e2d"], sorted("straße Äpfel zebra".split(), key=str.casefold))
total = []
def work(n): total.append(sum(i * i for i in range(n)))
threads = [threading.Thread(target=work, args=(20000 + n,)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(total), sum(1 for p in itertools.permutations(range(7)) if p[0] < p[-1]))
class Node:
    __slots__ = ("left", "right")
    def __init__(self, d): self.left, self.right = (Node(d - 1), Node(d - 1)) if d else (None, None)
    def count(self): return 1 + (self.left.count() + self.right.count() if self.left else 0)
print(Node(12).count(), float.hex(0.1 + 0.2), (-7) // 2, round(2.5), 1e308 * 10, divmod(-7.5, 2))
"""


def run_guest(name, script, files, folders=(), cpu=()):
    initrd = name + ".initrd"
    user_guest(initrd, guest + "/initrd", script, files, folders)
    r = subprocess.run([dejavm, "record", "-o", name + ".dvt", "--force", "--kernel", guest + "/vmlinuz", "--initrd", initrd, "--append", "console=ttyS0 quiet", "--memory", "768M", *cpu,
                        "--max-instructions", "100G"], capture_output=True, stdin=subprocess.DEVNULL)
    said = r.stdout.decode(errors="replace").replace("\r\n", "\n")
    assert r.returncode == 0, (r.returncode, said[-3000:], r.stderr[-1000:])
    for start in ([], ["--from", "k20"]):  # whole, and from a state in the middle
        again = subprocess.run([dejavm, "replay", *start, name + ".dvt"], capture_output=True, text=True)
        assert again.returncode == 0 and "replay: identical" in again.stdout + again.stderr, again
    return said, re.search(r"([0-9]+) instructions", r.stderr.decode()).group(1)


def programs(*cpu):
    python = os.path.realpath("/usr/bin/python3")
    version = os.path.basename(python)  # python3.11
    scripts = {"bash": ("/bin/bash", BASH), "perl": ("/usr/bin/perl", PERL), "python3": (python, PYTHON)}
    environment = {"PATH": "/bin:/usr/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8"}
    here, files, script = {}, {}, ""
    for name, (program, text) in scripts.items():
        with open(name + ".script", "w") as f:
            f.write(text)
        options = ["-I", "-S"] if name == "python3" else []
        here[name] = subprocess.run([program, *options, name + ".script"], env=environment, capture_output=True, text=True, check=True).stdout
        assert len(here[name]) > 300, here[name]
        files[program] = program
        files["/programs/" + name + ".script"] = os.path.abspath(name + ".script")
        script += f'echo "BEGIN {name}"; {program} {" ".join(options)} /programs/{name}.script 2>&1; echo "END {name} $?"\n'
    said, instructions = run_guest("programs", script, files,
                                   ["/usr/lib/" + version, "/usr/lib/x86_64-linux-gnu/perl-base", "/usr/lib/locale/C.utf8"], cpu)
    for name in scripts:
        there = re.search(rf"BEGIN {name}\n(.*?)END {name} (\d+)", said, re.S)
        assert there and there[2] == "0", said[-3000:]
        if there[1] != here[name]:
            for a, b in zip(here[name].splitlines(), there[1].splitlines()):
                assert a == b, f"{name}\nhere  {a}\nthere {b}"
        assert there[1] == here[name], name
    print(f"bash, perl and python3 say the same in the guest{' with ' + cpu[-1] if cpu else ''} as on this host; {instructions} instructions, replayed")


def linux_selftests(folder):
    built, source = folder + "/built", folder + "/linux"
    if not os.path.exists(built + "/done"):
        os.makedirs(built, exist_ok=True)
        subprocess.run(f"""set -e; cd {folder}; apt-get -q download linux-source-6.1
            dpkg-deb --fsys-tarfile linux-source-6.1_*.deb | tar xf - ./usr/src/linux-source-6.1.tar.xz
            tar xf usr/src/linux-source-6.1.tar.xz --wildcards 'linux-source-6.1/tools/testing/selftests/x86' 'linux-source-6.1/tools/testing/selftests/*.h' 'linux-source-6.1/tools/testing/selftests/lib.mk' \
              'linux-source-6.1/tools/include' 'linux-source-6.1/arch/x86/include/asm/desc_defs.h'
            rm -rf usr linux; mv linux-source-6.1 linux; make -k -C linux/tools/testing/selftests/x86 OUTPUT={built}; touch {built}/done""", shell=True, check=True, stdout=subprocess.DEVNULL,
                       stderr=open(folder + "/build.log", "w"))
    tests = sorted(n for n in os.listdir(built) if n.endswith("_64") or n.endswith("_32"))
    assert len(tests) >= 44, tests
    files = {"/selftests/" + n: built + "/" + n for n in tests}
    said, instructions = run_guest("selftests", 'cd /selftests; for t in *; do echo "BEGIN $t"; timeout 60 ./$t 2>&1; echo "END $t $?"; done', files)
    ended = dict(re.findall(r"END (\w+) (\d+)", said))
    assert set(ended) == set(tests), set(tests) - set(ended)
    # AMX is in neither CPU model; its test takes that for a failure on processors without it, too.
    failed = {n for n, status in ended.items() if status != "0"} - {"amx_64"}
    assert not failed, failed
    print(f"Linux's tests of x86: {len(tests)} programs, all pass but amx_64 (no AMX); {instructions} instructions, replayed")


if not os.path.exists(guest + "/vmlinuz"):
    print("skipped: no Debian kernel")
    sys.exit(77)
if selftests: os.makedirs(selftests, exist_ok=True)
with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    programs()
    if selftests: programs("--cpu", "dejavm-v2")  # where the C library and OpenSSL choose AVX2, AES and SHA
    if selftests: linux_selftests(selftests)
