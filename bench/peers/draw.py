#!/usr/bin/env python3
"""Draw the speeds that bench/peers/run measured.

    draw.py RESULTS.json... -o docs/speed.svg

Each file is one row of panels, each measurement a panel, each engine a bar: the median in
tokens/s, with a line from the least to the most. As in the tables of bench/peers/run, turns
that were disturbed count only if there is no other. Needs matplotlib.
"""
import argparse
import json
import pathlib
import statistics

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402: after the choice of the output

DISTURBED = 0.03  # as in run
GLIA, PEER = "#c2410c", "#94a3b8"


def speeds(results, metric, engine):
    every = [s for s in results["samples"] if s["metric"] == metric and s["engine"] == engine]
    chosen = [s for s in every if s["others"] <= DISTURBED] or every
    return [s["tokens"] / s["seconds"] for s in chosen]


def metrics(results):
    return list(dict.fromkeys(s["metric"] for s in results["samples"]))


def draw_panel(axis, results, metric, engines):
    for i, engine in enumerate(engines):
        x = speeds(results, metric, engine)
        if not x:
            continue
        middle = statistics.median(x)
        axis.barh(i, middle, color=GLIA if engine.startswith("glia") else PEER, height=0.7)
        axis.plot([min(x), max(x)], [i, i], color="black", linewidth=1)
        axis.annotate(f" {middle:.3g}", (max(x), i), va="center", fontsize=7)
    axis.set_title(f"{metric}, tokens/s", fontsize=8)
    axis.set_yticks(range(len(engines)), engines if axis.get_subplotspec().is_first_col() else [], fontsize=7)
    axis.set_ylim(len(engines) - 0.4, -0.6)
    axis.margins(x=0.25)
    axis.tick_params(axis="x", labelsize=6)
    axis.spines[["top", "right"]].set_visible(False)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("results", nargs="+", type=pathlib.Path)
    p.add_argument("-o", "--out", required=True, type=pathlib.Path)
    args = p.parse_args()
    files = [json.loads(path.read_text()) for path in args.results]
    columns = max(len(metrics(r)) for r in files)
    plt.rcParams.update({"svg.hashsalt": "glia", "svg.fonttype": "none", "font.family": "sans-serif"})
    figure = plt.figure(figsize=(2.6 * columns + 1.4, 2.9 * len(files)), layout="constrained")
    for part, results in zip(figure.subfigures(len(files), 1, squeeze=False)[:, 0], files):
        weights = "random" if results.get("random", True) else "published"
        part.suptitle(f"{results['model']}, {weights} weights, {results['threads']} threads; {results['machine']}",
                      fontsize=9)
        engines = list(dict.fromkeys(engine for group in results["groups"] for engine in group))
        for axis, metric in zip(part.subplots(1, columns, squeeze=False)[0], metrics(results)):
            draw_panel(axis, results, metric, engines)
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
