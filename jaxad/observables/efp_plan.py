"""How to evaluate many energy flow polynomials at once: vertex elimination with shared steps.

An EFP (Komiske, Metodiev, Thaler, arXiv:1712.07124, eq. 1.1) is a sum over one particle index for
each vertex of a multigraph; section 5 of that paper sums the indices one after the other. Here

- a vertex with one neighbour becomes a *message*, a vector multiplied into the neighbour,
  m_k = sum_l M_kl z_l v_l;
- a vertex with two neighbours becomes a *path*, an edge between them, multiplied into the edge
  that may be there already, P_kl = sum_j A_kj z_j v_j B_jl;
- when every vertex has three or more neighbours (chi >= 4), one vertex is *pinned* to particle i:
  its edges become vectors on its neighbours, and what remains is summed over i in a loop.

Intermediate results of all graphs are nodes of one table, so equal ones are computed once, and
for each graph the order of elimination is chosen that adds the least to what is there already.
For n particles the cost is at most n^chi, the memory n^2.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

Edges = tuple[tuple[int, int], ...]
Matrix = tuple[int, bool]  # node number, transposed
Vector = tuple[int, ...]  # sorted numbers of the nodes multiplied together; z is always a factor
Scalars = tuple[int, ...]  # numbers of the scalars multiplied together, one for each component

# Relative costs at 50 particles, measured on a CPU; a pinned particle multiplies by _LOOP.
_COST = {"theta": 1.0, "product": 1.5, "path": 10.0, "message": 1.0}
_LOOP = 50.0


class Node(NamedTuple):
    """An intermediate result; `depth` is the number of pinned particles that it depends on.

    kind and arguments: "theta" (power,); "product" (Matrix, ...), element by element; "path"
    (Matrix, Vector, Matrix); "message" (Matrix, Vector); "row" (Matrix,), that of the pinned
    particle; "scalar" (Vector,), summed over particles; "pinned" (Vector, Scalars), summed over
    the pinned particle. `symmetric` tells of a matrix that it equals its transpose for every jet.
    """

    kind: str
    arguments: tuple
    depth: int
    symmetric: bool


class Plan(NamedTuple):
    """`nodes`, each after those that it reads, and the scalars whose product each graph is."""

    nodes: dict[int, Node]
    outputs: list[Scalars]


def make_plan(graphs: Sequence[Edges]) -> Plan:
    """Plan for the values of `graphs`, in their order; () is the constant 1."""
    table = _Table()
    distinct = {component for graph in graphs for component in components(graph)}
    choices = {
        component: _eliminate(table, _from_edges(table, component), 0, {})
        for component in sorted(distinct)
    }
    chosen: set[int] = set()
    best: dict[Edges, Scalars] = {}
    for component in sorted(choices, key=lambda c: (len(choices[c]), c)):
        best[component] = min(
            sorted(choices[component]),
            key=lambda scalars: table.cost(table.needed(scalars) - chosen),
        )
        chosen |= table.needed(best[component])
    outputs = [
        tuple(scalar for component in components(graph) for scalar in best[component])
        for graph in graphs
    ]
    return Plan({number: table.nodes[number] for number in sorted(chosen)}, outputs)


def components(edges: Edges) -> list[Edges]:
    """Connected components, each with its vertices renumbered from 0 in increasing order."""
    result = []
    for group in _groups({vertex for edge in edges for vertex in edge}, edges):
        number = {vertex: i for i, vertex in enumerate(sorted(group))}
        result.append(tuple((number[a], number[b]) for a, b in edges if a in group))
    return result


def _groups(vertices: Iterable[int], edges: Iterable[tuple[int, int]]) -> list[set[int]]:
    """Vertices that hang together, by their smallest member."""
    groups = [{vertex} for vertex in vertices]
    for edge in edges:
        joined = [group for group in groups if group & set(edge)]
        groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return sorted(groups, key=min)


class _Table:
    """Nodes by number and by content; an equal node keeps its number."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._numbers: dict[Node, int] = {}
        self._needed: list[frozenset[int]] = []

    def add(self, kind: str, *arguments: object, depth: int | None = None) -> int:
        inputs = set(_inputs(kind, arguments))
        if depth is None:
            depth = max((self.nodes[i].depth for i in inputs), default=0)
        node = Node(kind, arguments, depth, self._symmetric(kind, arguments))
        if node not in self._numbers:
            self._numbers[node] = len(self.nodes)
            self._needed.append(
                frozenset({len(self.nodes)}).union(*(self._needed[i] for i in inputs))
            )
            self.nodes.append(node)
        return self._numbers[node]

    def needed(self, scalars: Scalars) -> frozenset[int]:
        return frozenset().union(*(self._needed[scalar] for scalar in scalars))

    def cost(self, numbers: Iterable[int]) -> float:
        nodes = (self.nodes[number] for number in numbers)
        return sum(_COST.get(node.kind, 0.1) * _LOOP**node.depth for node in nodes)

    def transpose(self, matrix: Matrix) -> Matrix:
        number, transposed = matrix
        return matrix if self.nodes[number].symmetric else (number, not transposed)

    def _symmetric(self, kind: str, arguments: tuple) -> bool:
        if kind == "path":
            return arguments[2] == self.transpose(arguments[0])
        if kind == "product":
            return all(self.nodes[number].symmetric for number, _ in arguments)
        return kind == "theta"

    def path(self, left: Matrix, vector: Vector, right: Matrix) -> Matrix:
        """The path, or the transpose of its mirror image, whichever the table lists."""
        mirrored = (self.transpose(right), self.transpose(left))
        if mirrored < (left, right):
            return self.add("path", mirrored[0], vector, mirrored[1]), True
        return self.add("path", left, vector, right), False

    def product(self, first: Matrix, second: Matrix) -> Matrix:
        power, others = 0, []
        for factor in (first, second):
            kind, arguments, *_ = self.nodes[factor[0]]
            for matrix in arguments if kind == "product" else [factor]:
                flipped = factor[1] and kind == "product"
                inner = self.nodes[matrix[0]]
                if inner.kind == "theta":
                    power += inner.arguments[0]
                else:
                    others.append(self.transpose(matrix) if flipped else matrix)
        if power:
            others.append((self.add("theta", power), False))
        factors = tuple(sorted(others))
        mirrored = tuple(sorted(self.transpose(matrix) for matrix in factors))
        if len(factors) == 1:
            return factors[0]
        return self.add("product", *min(factors, mirrored)), mirrored < factors


def _inputs(kind: str, arguments: tuple) -> Iterator[int]:
    """Numbers of the nodes that a node reads."""
    if kind == "theta":
        return
    for argument in arguments:
        matrix = len(argument) == 2 and isinstance(argument[1], bool)
        yield from argument[:1] if matrix else argument


def inputs(node: Node) -> set[int]:
    """Numbers of the nodes that `node` reads."""
    return set(_inputs(node.kind, node.arguments))


class _Graph(NamedTuple):
    """A connected graph half way: `vertices` carry vectors, `edges` (a, b), a < b, matrices.

    The rows of a matrix belong to a, its columns to b.
    """

    vertices: dict[int, Vector]
    edges: dict[tuple[int, int], Matrix]

    def neighbours(self, vertex: int) -> list[int]:
        return [a + b - vertex for a, b in self.edges if vertex in (a, b)]

    def matrix(self, table: _Table, row: int, column: int) -> Matrix:
        if row < column:
            return self.edges[row, column]
        return table.transpose(self.edges[column, row])

    def without(self, vertex: int) -> "_Graph":
        return _Graph(
            {v: vector for v, vector in self.vertices.items() if v != vertex},
            {edge: matrix for edge, matrix in self.edges.items() if vertex not in edge},
        )

    def multiplied(self, vertex: int, node: int) -> "_Graph":
        vector = tuple(sorted((*self.vertices[vertex], node)))
        return _Graph({**self.vertices, vertex: vector}, self.edges)


def _from_edges(table: _Table, edges: Edges) -> _Graph:
    multiplicity = Counter((min(edge), max(edge)) for edge in edges)
    return _Graph(
        {vertex: () for edge in multiplicity for vertex in edge},
        {edge: (table.add("theta", power), False) for edge, power in multiplicity.items()},
    )


def _eliminate(table: _Table, graph: _Graph, depth: int, seen: dict) -> set[Scalars]:
    """The results of all orders of elimination of a connected graph, as nodes of the table."""
    key = (frozenset(graph.vertices.items()), frozenset(graph.edges.items()), depth)
    if key not in seen:
        seen[key] = set(_orders(table, graph, depth, seen))
    return seen[key]


def _orders(table: _Table, graph: _Graph, depth: int, seen: dict) -> Iterator[Scalars]:
    degree = {vertex: len(graph.neighbours(vertex)) for vertex in graph.vertices}
    leaves = [vertex for vertex in graph.vertices if degree[vertex] == 1]
    if len(graph.edges) == len(graph.vertices) - 1:
        for root in graph.vertices:
            yield (table.add("scalar", _gather(table, graph, root)),)
    elif leaves:
        yield from _eliminate(table, _absorb_leaf(table, graph, leaves[0]), depth, seen)
    elif 2 in degree.values():
        for vertex in graph.vertices:
            if degree[vertex] == 2:
                yield from _eliminate(table, _bridge(table, graph, vertex), depth, seen)
    else:
        for vertex in graph.vertices:
            yield from _pin(table, graph, vertex, depth + 1, seen)


def _gather(table: _Table, tree: _Graph, root: int) -> Vector:
    """The vector of `root` once all other vertices of a tree have been summed towards it."""
    while len(tree.vertices) > 1:
        leaf = next(v for v in tree.vertices if v != root and len(tree.neighbours(v)) == 1)
        tree = _absorb_leaf(table, tree, leaf)
    return tree.vertices[root]


def _absorb_leaf(table: _Table, graph: _Graph, leaf: int) -> _Graph:
    (neighbour,) = graph.neighbours(leaf)
    matrix = graph.matrix(table, neighbour, leaf)
    message = table.add("message", matrix, graph.vertices[leaf])
    return graph.without(leaf).multiplied(neighbour, message)


def _bridge(table: _Table, graph: _Graph, vertex: int) -> _Graph:
    a, b = sorted(graph.neighbours(vertex))
    matrix = table.path(
        graph.matrix(table, a, vertex), graph.vertices[vertex], graph.matrix(table, vertex, b)
    )
    rest = graph.without(vertex)
    if (a, b) in rest.edges:
        matrix = table.product(rest.edges[a, b], matrix)
    return _Graph(rest.vertices, {**rest.edges, (a, b): matrix})


def _pin(table: _Table, graph: _Graph, vertex: int, depth: int, seen: dict) -> Iterator[Scalars]:
    rest = graph.without(vertex)
    for neighbour in graph.neighbours(vertex):
        row = table.add("row", graph.matrix(table, vertex, neighbour), depth=depth)
        rest = rest.multiplied(neighbour, row)
    parts = [_eliminate(table, part, depth, seen) for part in _split(rest)]
    for scalars in product(*parts):
        inner = tuple(sorted(scalar for part in scalars for scalar in part))
        yield (table.add("pinned", graph.vertices[vertex], inner, depth=depth - 1),)


def _split(graph: _Graph) -> Iterator[_Graph]:
    """The connected parts of a graph."""
    for group in _groups(graph.vertices, graph.edges):
        yield _Graph(
            {vertex: graph.vertices[vertex] for vertex in group},
            {edge: matrix for edge, matrix in graph.edges.items() if edge[0] in group},
        )
