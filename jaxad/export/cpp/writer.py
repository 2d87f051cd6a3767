"""A scorer as one C++11 header (GCC, Clang) without dependencies, and its compilation for Python.

The header holds the parameters and three functions of one event: the score, the false-positive rate
of a score, and both with the flag. Nothing is allocated; the arrays on the stack are of fixed size.
"""

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path

import jax
import numpy as np

from jaxad.errors import UserError
from jaxad.export.cpp.operations import literal, refusal
from jaxad.export.cpp.translate import Translator, Values

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=c++11")
NUMBERS_A_LINE = 16
DIGEST = "@digest@"  # in a header without its own

PRELUDE = """
typedef int truth;  // as wide as the numbers beside it
typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));

template <class To, class From> inline To bits_as(From a) {
  To to;
  std::memcpy(&to, &a, sizeof to);
  return to;
}

// NaN where one is NaN; of two zeros the sign counts.
inline float larger(float a, float b) {
  const float equal = bits_as<float>(bits_as<unsigned>(a) & bits_as<unsigned>(b));
  return a == b ? equal : (a > b || a != a ? a : b);
}
inline float smaller(float a, float b) {
  const float equal = bits_as<float>(bits_as<unsigned>(a) | bits_as<unsigned>(b));
  return a == b ? equal : (a < b || a != a ? a : b);
}
template <class T> inline T larger(T a, T b) { return a > b ? a : b; }
template <class T> inline T smaller(T a, T b) { return a < b ? a : b; }
inline float sign(float a) { return a > 0 ? 1.0f : (a < 0 ? -1.0f : a); }
inline int sign(int a) { return (a > 0) - (a < 0); }
inline unsigned sign(unsigned a) { return a > 0; }

// Integers wrap around, and by 0 the quotient is all bits, as in XLA.
inline int negative(int a) { return static_cast<int>(0u - static_cast<unsigned>(a)); }
inline float size(float a) { return std::fabs(a); }
inline int size(int a) { return a < 0 ? negative(a) : a; }
inline float quotient(float a, float b) { return a / b; }
inline int quotient(int a, int b) { return b == 0 ? -1 : (b == -1 ? negative(a) : a / b); }
inline unsigned quotient(unsigned a, unsigned b) { return b == 0 ? ~0u : a / b; }
inline float remainder_of(float a, float b) { return std::fmod(a, b); }
inline int remainder_of(int a, int b) { return b == 0 ? a : (b == -1 ? 0 : a % b); }
inline unsigned remainder_of(unsigned a, unsigned b) { return b == 0 ? a : a % b; }

template <class T> inline T shifted_left(T a, T b) {
  return static_cast<unsigned>(b) < 32 ? static_cast<T>(static_cast<unsigned>(a) << b) : 0;
}
template <class T> inline T shifted_right(T a, T b) {
  return static_cast<unsigned>(b) < 32 ? static_cast<T>(static_cast<unsigned>(a) >> b) : 0;
}
template <class T> inline T shifted_right_signed(T a, T b) {
  return static_cast<T>(static_cast<int>(a) >> (static_cast<unsigned>(b) < 32 ? b : 31));
}

// A float without its fraction; the nearest there is where it is too large, 0 for NaN.
template <class T> inline T whole(float a) {
  const T least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
  if (a != a) return 0;
  if (a <= static_cast<float>(least)) return least;
  return a >= static_cast<float>(most) ? most : static_cast<T>(a);
}

template <int N, class T> inline T power_of(T a) {
  T result = 1;
  for (int i = 0; i < N; ++i) result *= a;
  return result;
}
template <int N> inline float power(float a) {
  return N < 0 ? 1.0f / power_of<-N>(a) : power_of<N>(a);
}
template <int N> inline unsigned power(unsigned a) { return power_of<N>(a); }
template <int N> inline int power(int a) {
  return static_cast<int>(power_of<N>(static_cast<unsigned>(a)));
}

// The rational function that XLA computes, so that loops of it become vector instructions.
inline float tanh_of(float a) {
  const float x = a > 7.9f ? 7.9f : (a < -7.9f ? -7.9f : a), y = x * x;
  float p = -2.76076847742355e-16f, q = 1.19825839466702e-06f;
  p = p * y + 2.00018790482477e-13f;
  p = p * y - 8.60467152213735e-11f;
  p = p * y + 5.12229709037114e-08f;
  p = p * y + 1.48572235717979e-05f;
  p = p * y + 6.37261928875436e-04f;
  p = p * y + 4.89352455891786e-03f;
  q = q * y + 1.18534705686654e-04f;
  q = q * y + 2.26843463243900e-03f;
  q = q * y + 4.89352518554385e-03f;
  return x * p / q;
}

// Cephes' exponential, for the same reason.
inline float exp_of(float a) {
  const float x = a > 88.72f ? 88.72f : (a < -87.33f ? -87.33f : a);
  const float n = std::floor(x * 1.44269504f + 0.5f), r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  // Two factors, because 2^128 is not a number.
  const int half = static_cast<int>(n) / 2, rest = static_cast<int>(n) - half;
  const float y = (p * r * r + r + 1.0f) * bits_as<float>((half + 127) << 23);
  const float result = y * bits_as<float>((rest + 127) << 23);
  return a > 88.72f ? std::numeric_limits<float>::infinity() : (a < -87.33f ? 0.0f : result);
}

template <int K, int DK, int WK> inline float dot(const float* d, const float* w) {
  float lane[8] = {};
  for (int k = 0; k + 8 <= K; k += 8)
    for (int j = 0; j < 8; ++j) lane[j] += d[(k + j) * DK] * w[(k + j) * WK];
  for (int k = K / 8 * 8; k < K; ++k) lane[k % 8] += d[k * DK] * w[k * WK];
  return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

template <int K, int S> inline float sum(const float* d) {
  const float one = 1.0f;
  return dot<K, S, 0>(d, &one);
}

// F outputs of 8 ... 64, kept in registers; the last eight overlap those before where F is ragged.
template <int K, int F, int DK, int WK>
inline void block(const float* d, const float* w, float* out) {
  const int n = (F + 7) / 8, last = F - 8;
  lanes a[n] = {};
  for (int k = 0; k < K; ++k) {
    const float s = d[k * DK];
    const float* row = w + k * WK;
#pragma GCC unroll 8
    for (int v = 0; v < n; ++v)
      a[v] += s * *reinterpret_cast<const lanes*>(row + (8 * v < last ? 8 * v : last));
  }
#pragma GCC unroll 8
  for (int v = 0; v < n; ++v) *reinterpret_cast<lanes*>(out + (8 * v < last ? 8 * v : last)) = a[v];
}

// out[f] = sum over k of d[k] w[k, f]; K, F, and the steps of k in d, of k and f in w, of f in out
template <int K, int F, int DK, int WK, int WF, int OF>
inline void product(const float* d, const float* w, float* out) {
  if (F < 8 || WF != 1 || OF != 1) {
    for (int f = 0; f < F; ++f) out[f * OF] = dot<K, DK, WK>(d, w + f * WF);
    return;
  }
  const int whole = F / 64 * 64, rest = F - whole;
  for (int f = 0; f < whole; f += 64) block<K, 64, DK, WK>(d, w + f, out + f);
  if (rest >= 8) block<K, rest >= 8 ? rest : 8, DK, WK>(d, w + whole, out + whole);
  if (rest > 0 && rest < 8) block<K, 8, DK, WK>(d, w + F - 8, out + F - 8);
}
"""

HEADER = """\
// {title}
// Generated by jaxad {version}; one event at a time, no dependency, no allocation.
//
//   float out[3];
//   {namespace}::evaluate(raw, out);  // score, false-positive rate, flag
//
// raw: {n_inputs} floats, {inputs}
// A larger score is more anomalous. flag is 1 where score >= threshold, else 0. The rate is
// interpolated between the scores of {n_calibration} events of background.
#ifndef JAXAD_{digest}
#define JAXAD_{digest}
#include <cmath>
#include <cstring>
#include <limits>

namespace {namespace} {{
// Two scorers of one name keep symbols of their own in one program.
inline namespace of_{digest} {{

constexpr int n_inputs = {n_inputs};
constexpr float threshold = {threshold};  // at a false-positive rate of {target_fpr:g}

namespace detail {{
{prelude}
{constants}
}}  // namespace detail

inline float score(const float* raw) {{
  using namespace detail;
{statements}
}}

inline float fpr(float s) {{
  static const float x[] = {knot_scores};
  static const float y[] = {knot_fprs};
  const int n = {n_knots};
  if (!(s > x[0])) return s == s ? y[0] : s;
  if (s >= x[n - 1]) return y[n - 1];
  int low = 0, high = n - 1;
  while (high - low > 1) {{
    const int middle = (low + high) / 2;
    (s < x[middle] ? high : low) = middle;
  }}
  return y[low] + (s - x[low]) / (x[high] - x[low]) * (y[high] - y[low]);
}}

inline void evaluate(const float* raw, float* out) {{
  out[0] = score(raw);
  out[1] = fpr(out[0]);
  out[2] = out[0] >= threshold ? 1.0f : 0.0f;
}}

}}  // namespace of_{digest}
}}  // namespace {namespace}
#endif
"""

LIBRARY = """\
#include "{header}"
extern "C" void evaluate(const float* raw, long n, float* out) {{
  for (long i = 0; i < n; ++i)
    {namespace}::evaluate(raw + i * {namespace}::n_inputs, out + 3 * i);
}}
"""


def _array(values: Sequence, kind: str) -> str:
    numbers = [literal(value, kind) for value in values]
    lines = [
        ", ".join(numbers[start : start + NUMBERS_A_LINE])
        for start in range(0, len(numbers), NUMBERS_A_LINE)
    ]
    return "{" + ",\n    ".join(lines) + "}"


def statements(
    function: Callable[[jax.Array], jax.Array], shape: Sequence[int | None]
) -> tuple[str, str]:
    """Constants and statements of function(x) -> (1,) for one event x (1, *shape), `raw` in C++.

    Raises:
        UserError: an operation that is not translated, or events of any length.
    """
    if None in shape:
        raise refusal("events of any number of particles")
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((1, *shape), np.float32))
    translator = Translator()
    raw = Values("raw", np.arange(prod(shape)).reshape(1, *shape), "float")
    (found,) = translator.translate(closed, [raw])
    if not isinstance(found, Values):
        raise refusal("a score that does not depend on the event")
    lines = [*translator.lines, f"return {found.buffer}[{int(found.place.ravel()[0])}];"]
    return declared(translator), textwrap.indent("\n".join(lines), "  ")


def declared(translator: Translator) -> str:
    """The constants of translated statements."""
    return "\n".join(
        f"alignas(64) static const {kind} {name}[] = {_array(array.ravel(), kind)};"
        for (kind, _), (name, array) in translator.constants.items()
    )


def header(
    function: Callable[[jax.Array], jax.Array], shape: Sequence[int | None], about: dict
) -> str:
    """The header of a score, with the contract `about` of `jaxad.export.contract`."""
    constants, body = statements(function, shape)
    knots = about["fpr"]["knots"]
    text = HEADER.format(
        digest=DIGEST,
        title=f"{about['method']} ({about['score']['name']}), run {about['run_id']}",
        version=about["versions"]["jaxad"],
        namespace=about["namespace"],
        n_inputs=prod(shape),
        inputs=about["input"]["order"],
        threshold=literal(about["threshold"], "float"),
        target_fpr=about["fpr"]["target"],
        n_calibration=about["fpr"]["n_calibration"],
        n_knots=len(knots["score"]),
        knot_scores=_array(knots["score"], "float"),
        knot_fprs=_array(knots["fpr"], "float"),
        prelude=PRELUDE,
        constants=constants,
        statements=body,
    )
    return text.replace(DIGEST, hashlib.sha256(text.encode()).hexdigest()[:16])


def compiled(path: Path, namespace: str) -> Callable[[np.ndarray], np.ndarray]:
    """Function raw (n, *shape) float32 -> (n, 3) of a header, compiled for this machine by g++.

    Raises:
        UserError: no g++ here, or it refuses the header.
    """
    if shutil.which("g++") is None:
        raise UserError(f"{path}: g++ is not installed: it is what the header is checked with")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "scorer.so"
        source = LIBRARY.format(header=path.resolve(), namespace=namespace)
        command = ["g++", *FLAGS, "-shared", "-fPIC", "-x", "c++", "-", "-o", str(library)]
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{path}: g++: {done.stderr.splitlines()[0]}")
        loaded = ctypes.CDLL(str(library)).evaluate
    loaded.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p]
    loaded.restype = None

    def evaluate(raw: np.ndarray) -> np.ndarray:
        raw = np.ascontiguousarray(raw, np.float32)
        out = np.empty((len(raw), 3), np.float32)
        # The attribute `ctypes` would take longer than a small network.
        source, target = raw.__array_interface__, out.__array_interface__
        loaded(source["data"][0], len(raw), target["data"][0])
        return out

    return evaluate
