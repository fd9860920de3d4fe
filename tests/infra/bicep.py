"""Works out what the Bicep files would deploy with given parameters: enough of the language for the files that we have.

The parser is tree-sitter's. It is no compiler: types are not checked (``.ci/run`` does that where it can), and what
only Azure knows is stood in for by ``RUNTIME``. What it does not know raises, so that no file is half understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from ipaddress import ip_network
from itertools import islice
from pathlib import Path
from typing import Any, Final

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

FOLDER: Final = Path(__file__).parents[2] / "infra/bicep"
GUID: Final = "11111111-2222-4333-8444-555555555555"
RUNTIME: Final = {
    "ConnectionString": f"InstrumentationKey={GUID};IngestionEndpoint=https://ingestion.example.com/",
    "clientId": GUID,
    "defaultDomain": "apps.example.com",
    "endpoint": "https://openai.example.com/",
    "frontDoorId": GUID,
    "hostName": "host.example.com",
    "loginServer": "registry.example.com",
    "tenantId": GUID,
    "validationToken": "proof",
    "vaultUri": "https://vault.example.com/",
}
"""What Azure makes up, by the name of the property; a ``principalId`` is told by whose it is."""

_PARSER: Final = Parser(Language(tree_sitter_bicep.language()))
Names = Mapping[str, Any]


@dataclass(frozen=True)
class Resource:
    """One resource: as it is written, worked out. What is not there, as a condition says, is no resource."""

    symbol: str
    type: str
    body: dict[str, Any]
    exists: bool = False
    """Whether it must be there before: ``existing``."""

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def id(self) -> str:
        within = f"{self.body['parent'].id}/" if "parent" in self.body else ""
        return f"{within}{self.type}/{self.name}"

    @property
    def properties(self) -> dict[str, Any]:
        """What is set, not what Azure adds."""
        found: dict[str, Any] = self.body.get("properties", {})
        return found

    def member(self, name: str) -> Any:
        if name in ("id", "name", "type"):
            return getattr(self, name)
        return _Runtime(self) if name == "properties" else self.body[name]


@dataclass(frozen=True)
class _Runtime:
    """The properties of a resource as Azure tells them."""

    of: Resource

    def member(self, name: str) -> Any:
        if name == "principalId":
            return f"principal of {self.of.name}"
        if name == "subnets":
            return [{"id": f"{self.of.id}/subnets/{each['name']}"} for each in self.of.properties["subnets"]]
        return RUNTIME.get(name, self)


@dataclass
class Deployed:
    """What a file deploys, modules and all.

    Attributes:
        module: the files on the way, by the modules' symbols.
    """

    resources: list[Resource] = field(default_factory=list)
    modules: dict[str, Deployed] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    def member(self, name: str) -> Any:
        assert name == "outputs"
        return self.outputs

    def everything(self) -> Iterator[Resource]:
        """The resources of all modules too."""
        yield from self.resources
        for module in self.modules.values():
            yield from module.everything()

    def of_type(self, *types: str) -> list[Resource]:
        """Those that are made, of these types."""
        return [each for each in self.everything() if each.type in types and not each.exists]


def statements(path: Path) -> list[tuple[Node, dict[str, str]]]:
    """The declarations of a file, each with its decorators' texts by name. Fails where it does not parse."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".bicepparam":  # not known to the grammar: with a type it is a template's
        text = re.sub(r"^(param \w+) =", r"\1 object =", text, flags=re.MULTILINE)
    root = _PARSER.parse(text.encode()).root_node
    assert not root.has_error, path
    found, decorators = [], dict[str, str]()
    for node in _named(root):
        if node.type == "decorators":
            calls = [decorator.named_children[0] for decorator in _named(node)]
            decorators = {_text(call.named_children[0]): _text(call.named_children[1]) for call in calls}
            continue
        found.append((node, decorators))
        decorators = {}
    return found


def parameters_of(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a parameter file gives, where the environment says this."""

    def read(name: str, *usual: str) -> str:
        return environment[name] if name in environment or not usual else usual[0]

    names: dict[str, Any] = {"readEnvironmentVariable": read}
    return {
        _text(node.named_children[0]): _evaluate(node.named_children[-1], names)
        for node, _ in statements(path)
        if node.type == "parameter_declaration"
    }


def deploy(path: Path, given: Mapping[str, Any]) -> Deployed:
    """What a file deploys with these parameters. Fails where one is missing or not known."""
    names: dict[str, Any] = {}
    deployed = Deployed()
    late: list[Callable[[], None]] = []
    unknown = set(given)
    for node, _ in statements(path):
        children = _named(node)
        symbol = _text(children[0]) if children else ""
        match node.type:
            case "parameter_declaration":
                unknown.discard(symbol)
                has_default = any(child.type == "=" for child in node.children)
                assert symbol in given or has_default, f"{path.name}: {symbol} is not given"
                names[symbol] = given[symbol] if symbol in given else _evaluate(children[-1], names)
            case "resource_declaration" | "module_declaration" | "variable_declaration":
                names[symbol] = _Lazy(partial(_declared, node, names, path, deployed))
                late.append(names[symbol].value)
            case "output_declaration":
                late.append(partial(_put_output, deployed, symbol, children[-1], names))
            case "target_scope_assignment" | "comment":
                pass
            case _:
                raise AssertionError(f"{path.name}: {node.type}")
    assert not unknown, f"{path.name}: no parameters {unknown}"
    for each in late:
        each()
    return deployed


def _put_output(deployed: Deployed, name: str, node: Node, names: Names) -> None:
    deployed.outputs[name] = _evaluate(node, names)


@dataclass
class _Lazy:
    """A declaration, worked out when somebody needs it: their order in the file is free."""

    work_out: Callable[[], Any]
    known: list[Any] = field(default_factory=list)

    def value(self) -> Any:
        if not self.known:
            self.known.append(self.work_out())
        return self.known[0]


def _declared(node: Node, names: dict[str, Any], path: Path, deployed: Deployed) -> Any:
    children = _named(node)
    symbol, body = _text(children[0]), children[-1]
    if node.type == "variable_declaration":
        return _evaluate(body, names)
    if body.type == "if_statement":
        condition, body = _named(body)
        if not _evaluate(condition, names):
            return None
    if node.type == "module_declaration":
        part = _evaluate(body, names)
        deployed.modules[symbol] = made = deploy(path.parent / _string(children[1], names), part["params"])
        return made
    kind = _string(children[1], names).partition("@")[0]
    exists = any(child.type == "existing" for child in node.children)

    def make(evaluated: dict[str, Any]) -> Resource:
        resource = Resource(symbol, kind, evaluated, exists)
        deployed.resources.append(resource)
        return resource

    if body.type == "for_statement":
        return [make(each) for each in _loop(body, names)]
    return make(_evaluate(body, names))


def _loop(node: Node, names: Names) -> list[Any]:
    *heads, source, body = _named(node)
    variables = [_text(name) for head in heads for name in (_named(head) or [head])]
    items = _evaluate(source, names)
    return [_evaluate(body, {**names, **dict(zip(variables, (item, n), strict=False))}) for n, item in enumerate(items)]


def _evaluate(node: Node, names: Names) -> Any:
    children = _named(node)
    match node.type:
        case "string":
            return _string(node, names)
        case "number":
            return int(_text(node))
        case "boolean":
            return _text(node) == "true"
        case "null":
            return None
        case "array":
            return [_evaluate(child, names) for child in children]
        case "object":
            properties = [_named(child) for child in children if child.type == "object_property"]
            return {_key(name, names): _evaluate(value, names) for name, value in properties}
        case "for_statement":
            return _loop(node, names)
        case "parenthesized_expression":
            return _evaluate(children[0], names)
        case "ternary_expression":
            condition, yes, no = children
            return _evaluate(yes if _evaluate(condition, names) else no, names)
        case "unary_expression":
            assert _text(node).startswith("!")
            return not _evaluate(children[0], names)
        case "binary_expression":
            return _binary(node, names)
        case "identifier":
            found = names[_text(children[0] if children else node).rstrip("!")]
            return found.value() if isinstance(found, _Lazy) else found
        case "member_expression":
            return _member(node, (), names)
        case "subscript_expression":
            return _evaluate(children[0], names)[_evaluate(children[1], names)]
        case "lambda_expression":
            return lambda item: _evaluate(children[1], {**names, _text(children[0]): item})
        case "call_expression":
            function = _text(children[0])
            arguments = [_evaluate(child, names) for child in _named(children[1])]
            called = names[function] if callable(names.get(function)) else FUNCTIONS[function]
            return called(*arguments)
    raise AssertionError(f"{node.type}: {_text(node)}")


def _member(node: Node, path: tuple[str, ...], names: Names) -> Any:
    children = _named(node)
    if node.type == "member_expression":
        return _member(children[0], (_text(children[1]), *path), names)
    if node.type == "ternary_expression":  # the grammar's slip: in `a ? b : c.d` the member is c's, not the whole's
        condition, yes, no = children
        return _evaluate(yes, names) if _evaluate(condition, names) else _member(no, path, names)
    whole = _evaluate(node, names)
    for name in path:
        whole = whole.member(name) if hasattr(whole, "member") else whole[name]
    return whole


def _binary(node: Node, names: Names) -> Any:
    left, right = _named(node)
    operator = next(child.type for child in node.children if not child.is_named)
    first = _evaluate(left, names)
    if operator in ("&&", "||"):  # what does not matter is not looked at
        return _evaluate(right, names) if bool(first) is (operator == "&&") else first
    second = _evaluate(right, names)
    if operator == "==":
        return first == second
    return {"+": first.__add__, "*": first.__mul__, "/": first.__floordiv__}[operator](second)


def _key(node: Node, names: Names) -> str:
    return _string(node, names) if node.type == "string" else _text(node)


def _string(node: Node, names: Names) -> str:
    parts, at = [], node.start_byte + 1
    source = node.text or b""
    for child in node.children:
        if child.type == "interpolation":
            parts += [source[at - node.start_byte : child.start_byte - node.start_byte].decode()]
            parts += [str(_evaluate(_named(child)[0], names))]
            at = child.end_byte
    parts.append(source[at - node.start_byte : -1].decode())
    return re.sub(r"\\(.)", r"\1", "".join(parts))


def _named(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _union(*parts: Any) -> Any:
    if isinstance(parts[0], list):
        return list(dict.fromkeys(item for part in parts for item in part))
    return {name: value for part in parts for name, value in part.items()}


def _subnet(prefix: str, length: int, number: int) -> str:
    return str(next(islice(ip_network(prefix).subnets(new_prefix=length), number, None)))


def _json_file(name: str) -> Any:
    return json.loads((FOLDER / "modules" / name).read_text(encoding="utf-8"))


def _items(whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": whole[key]} for key in sorted(whole)]


def _flat(lists: Iterable[list[Any]]) -> list[Any]:
    return [item for each in lists for item in each]


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "bool": lambda text: text.lower() == "true",
    "cidrSubnet": _subnet,
    "concat": lambda *lists: _flat(lists),
    "contains": lambda whole, part: part in whole,
    "deployment": lambda: {"location": "deployment-location"},
    "empty": lambda value: not value,
    "filter": lambda items, keep: list(filter(keep, items)),
    "guid": lambda *parts: "guid of " + ", ".join(parts),
    "items": _items,
    "join": lambda items, between: between.join(items),
    "json": json.loads,
    "loadJsonContent": _json_file,
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceGroup": lambda: {"id": "group-id"},
    "split": lambda text, between: text.split(between),
    "string": lambda value: value if isinstance(value, str) else json.dumps(value),
    "subscription": lambda: {"id": "subscription-id", "tenantId": GUID},
    "subscriptionResourceId": lambda *parts: "/".join(parts),
    "take": lambda text, number: text[:number],
    "union": _union,
    "uniqueString": lambda *parts: "u" + sha256("/".join(parts).encode()).hexdigest()[:12],
    "utcNow": lambda _: "2026-11-01",
}
