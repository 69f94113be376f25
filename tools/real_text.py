#!/usr/bin/env python3
"""Collect text of three kinds from this machine: English, code, and other scripts.

    real_text.py DIR [--characters 60000]

Writes english.txt, code.txt and scripts.txt into DIR and prints the origin of each text. The sources
are free: documents and sources of this repository, the documentation and modules of the Python that
runs this script, and translations in Debian packages (Vim's tutor, else the catalogs of systemd).
Each source gives an equal share. A kind without a source is skipped with a line that says so.
Needs no packages and no network.
"""
import argparse
import glob
import pathlib
import platform
import pydoc_data.topics
import subprocess
import sysconfig

STDLIB = sysconfig.get_paths()["stdlib"]
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
MODULES = ("argparse", "heapq", "textwrap", "statistics", "http/server", "json/decoder")
TUTORS = [f"/usr/share/vim/vim*/tutor/tutor.{language}.utf-8" for language in ("ru", "ja", "zh_cn")]
CATALOGS = [f"/usr/lib/systemd/catalog/systemd.{language}.catalog" for language in ("ru", "ko", "zh_CN")]


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def joined(paths):
    return "\n\n".join(pathlib.Path(p).read_text(encoding="utf-8") for p in paths)


def of_repository(pattern):
    revision = output("git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD") or "unknown"
    return f"{pattern} of this repository at {revision}", joined(sorted(REPOSITORY.glob(pattern)))


def of_python():
    topics = pydoc_data.topics.topics
    return f"pydoc_data/topics.py of Python {platform.python_version()}", "\n\n".join(topics[t] for t in sorted(topics))


def of_modules():
    names = ", ".join(m + ".py" for m in MODULES)
    return f"{names} of Python {platform.python_version()}", joined(f"{STDLIB}/{m}.py" for m in MODULES)


def of_packages(patterns):
    """A source for each pattern that matches a file: its path and its package."""
    for path in filter(None, (max(glob.glob(p), default=None) for p in patterns)):
        package = output("dpkg-query", "-S", path).split(":")[0]
        version = output("dpkg-query", "-W", "-f", "${Version}", package) if package else "unknown"
        yield f"{path} of {package or 'no package'} {version}", joined([path])


def kinds():
    return {
        "english": [of_python(), of_repository("docs/*.md")],
        "code": [of_modules(), of_repository("src/engine/*.c")],
        "scripts": list(of_packages(TUTORS)) or list(of_packages(CATALOGS)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--characters", type=int, default=60000, help="length of each text, at most")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    for kind, sources in kinds().items():
        if not sources:
            print(f"SKIPPED: {kind}: none of {', '.join(TUTORS + CATALOGS)} is here")
            continue
        share = args.characters // len(sources)
        (args.dir / f"{kind}.txt").write_text("\n\n".join(text[:share] for _, text in sources), encoding="utf-8")
        print(f"{kind}: {'; '.join(origin for origin, _ in sources)}")


if __name__ == "__main__":
    main()
