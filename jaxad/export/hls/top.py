"""The C++ around the network of an integer scorer: scaling, squares, threshold, and a test bench.

hls4ml writes the project; its top function becomes `NAME_network`, and `NAME` the one that is here,
so that its scripts build both.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.export.hls.image import ImageFirmware
from jaxad.export.hls.integer import COUNT_BITS, Firmware
from jaxad.fixed import FixedType
from jaxad.inputs.trigger import N_INPUTS

HEADER = """\
#ifndef {NAME}_SCORE_H_
#define {NAME}_SCORE_H_

#include "ap_fixed.h"
#include "ap_int.h"

typedef {count} {name}_count_t;
typedef {score_integer}<{score_bits}> {name}_score_t;  // {fraction} bits of it behind the point

// From {n} counts, {order},
// to the score and whether it reaches the threshold.
void {name}(const {name}_count_t counts[{n}], {name}_score_t &score, ap_uint<1> &accept);

#endif
"""

SOURCE = """\
#include "{name}.h"

#include "{name}_network.cpp"

static const int {name}_offset[{n}] = {{{offset}}};
static const int {name}_shift[{n}] = {{{shift}}};
static const {name}_score_t {name}_threshold = {threshold};

void {name}(const {name}_count_t counts[{n}], {name}_score_t &score, ap_uint<1> &accept) {{
    #pragma HLS ARRAY_PARTITION variable=counts complete dim=0
    #pragma HLS INTERFACE ap_vld port=counts,score,accept
    #pragma HLS PIPELINE II=1

    {input} z[{n}];
    #pragma HLS ARRAY_PARTITION variable=z complete dim=0
    for (int i = 0; i < {n}; i++) {{
        #pragma HLS UNROLL
        {source} difference = counts[i] - {name}_offset[i];
        {scaled} scaled = difference >> {name}_shift[i];
        z[i] = scaled;
    }}

    {code} codes[{outputs}];
    #pragma HLS ARRAY_PARTITION variable=codes complete dim=0
    {name}_network(z, codes);

{sum}    score = {result}.range();
    accept = score >= {name}_threshold;
}}
"""

SQUARES = """\
    {score} sum = 0;
    for (int i = 0; i < {outputs}; i++) {{
        #pragma HLS UNROLL
        sum += codes[i] * codes[i];
    }}
"""

IMAGE_SOURCE = """\
#include "{name}.h"

#include "{name}_network.cpp"

static const unsigned {name}_threshold = {threshold}u;

void {name}(const {name}_count_t counts[{n}], {name}_score_t &score, ap_uint<1> &accept) {{
    #pragma HLS ARRAY_PARTITION variable=counts complete dim=0
    #pragma HLS INTERFACE ap_vld port=counts,score,accept
    #pragma HLS PIPELINE II=1

    {input} x[{n}];
    #pragma HLS ARRAY_PARTITION variable=x complete dim=0
    for (int i = 0; i < {n}; i++) {{
        #pragma HLS UNROLL
        x[i] = counts[i];
    }}

    {score} result[1];
    {name}_network(x, result);
    score = result[0].range();
    accept = score >= {name}_threshold;
}}
"""

TRACING = """\
#include <cstddef>
#include <map>
#include <string>

namespace nnet {{
bool trace_enabled = false;
std::map<std::string, void *> *trace_outputs = NULL;
size_t trace_type_size = sizeof(double);
}} // namespace nnet
"""

BRIDGE = (
    """\
#include "firmware/{name}.h"

"""
    + TRACING
    + """
// Scores and flags of n events.
extern "C" void {name}_scores(const int *counts, int n, long long *scores, int *accepted) {{
    for (int i = 0; i < n; i++) {{
        {name}_count_t event[{n}];
        for (int j = 0; j < {n}; j++)
            event[j] = counts[{n} * i + j];
        {name}_score_t score;
        ap_uint<1> accept;
        {name}(event, score, accept);
        scores[i] = score.to_int64();
        accepted[i] = accept.to_int();
    }}
}}
"""
)

BENCH = (
    """\
#include <fstream>
#include <iostream>

#include "firmware/{name}.h"

"""
    + TRACING
    + """
// Replays tb_data/golden.dat: {n} counts, score and flag of an event a line.
int main() {{
    std::ifstream golden("tb_data/golden.dat");
#ifdef RTL_SIM
    std::ofstream results("tb_data/rtl_cosim_results.log");
#else
    std::ofstream results("tb_data/csim_results.log");
#endif
    int value, events = 0, wrong = 0;
    long long wanted;
    while (golden >> value) {{
        {name}_count_t event[{n}];
        event[0] = value;
        for (int j = 1; j < {n}; j++) {{
            golden >> value;
            event[j] = value;
        }}
        int flag;
        golden >> wanted >> flag;
        {name}_score_t score;
        ap_uint<1> accept;
        {name}(event, score, accept);
        results << score.to_int64() << " " << accept.to_int() << std::endl;
        wrong += score.to_int64() != wanted || accept.to_int() != flag;
        events++;
    }}
    std::cout << wrong << " of " << events << " events differ" << std::endl;
    return wrong > 0 || events == 0;
}}
"""
)


def cpp(t: FixedType) -> str:
    """A type as C++ writes it.

    Examples:
        >>> cpp(FixedType(8, 4, False, "RND", "SAT"))
        'ap_ufixed<8,4,AP_RND,AP_SAT>'
    """
    name = "ap_fixed" if t.signed else "ap_ufixed"
    return f"{name}<{t.width},{t.integer},AP_{t.rounding},AP_{t.overflow}>"


def sources(found: Firmware, threshold: int, name: str) -> dict[str, str]:
    """Path in the project -> text, of what replaces or joins hls4ml's files."""
    values = {
        "name": name,
        "NAME": name.upper(),
        "n": N_INPUTS,
        "count": f"ap_int<{COUNT_BITS}>",
        "order": "(pT, eta, phi) of an object after the other",
        **_score(found.score),
        "offset": ", ".join(map(str, found.offset)),
        "shift": ", ".join(map(str, found.shift)),
        "threshold": threshold if found.number else f"{threshold}u",
        "source": cpp(found.source),
        "scaled": cpp(found.scaled),
        "input": cpp(found.input),
        "code": cpp(found.code),
        "outputs": len(found.layers[-1].bias),
    }
    values["sum"] = "" if found.number else SQUARES.format(**values)
    return _formatted(SOURCE, values | {"result": "codes[0]" if found.number else "sum"})


def image_sources(found: ImageFirmware, threshold: int, name: str) -> dict[str, str]:
    """The same of a scorer of images."""
    values = {
        "name": name,
        "NAME": name.upper(),
        "n": found.n_inputs,
        "count": f"ap_uint<{found.input.width}>",
        "order": "row by row of an image",
        **_score(found.score),
        "threshold": threshold,
        "input": cpp(found.input),
    }
    return _formatted(IMAGE_SOURCE, values)


def _score(t: FixedType) -> dict[str, Any]:
    """Of the score's type."""
    integer = "ap_int" if t.signed else "ap_uint"
    bits = {"score_integer": integer, "score_bits": t.width, "fraction": t.fraction}
    return {**bits, "score": cpp(t)}


def _formatted(source: str, values: Mapping[str, Any]) -> dict[str, str]:
    name = values["name"]
    texts = {
        f"firmware/{name}.h": HEADER,
        f"firmware/{name}.cpp": source,
        f"{name}_bridge.cpp": BRIDGE,
        f"{name}_test.cpp": BENCH,
    }
    return {path: text.format(**values) for path, text in texts.items()}


def enclose(folder: Path, texts: Mapping[str, str], name: str, golden: np.ndarray) -> None:
    """Put the top function around the network that hls4ml has written into `folder`.

    Args:
        texts: path -> content, see `sources` and `image_sources`.
        golden: (n, inputs + 2) int: counts, score and flag of events, for the test bench.
    """
    for ending in ("h", "cpp"):
        path = folder / "firmware" / f"{name}.{ending}"
        text = re.sub(rf"\b{name}\b", f"{name}_network", path.read_text(encoding="utf-8"))
        # What a top function alone has; arrays are cut by the one that is around it.
        text = re.sub(r" *#pragma HLS (INTERFACE|ARRAY_RESHAPE).*\n", "", text)
        text = text.replace("#pragma HLS PIPELINE", "#pragma HLS INLINE")
        path.with_name(f"{name}_network.{ending}").write_text(text, encoding="utf-8")
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    (folder / "tb_data").mkdir(exist_ok=True)
    np.savetxt(folder / "tb_data" / "golden.dat", golden, "%d")
