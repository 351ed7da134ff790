"""Renders every overlay of k8s/ with every combination of its components, and validates every object against the schemas of its
readers. tests/manifests.rs checks what an object *means* (that ports, settings and rights fit the binary)."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

PROJECT = Path(__file__).resolve().parents[2]
K8S = PROJECT / "k8s"
CRDS = Path(__file__).resolve().parent / "crds"
# The version of the API server that facts and manifests were written for. (A distribution may have older schemas only.)
KUBERNETES = min("1.36", kubernetes_validate.latest_version(), key=lambda version: [int(part) for part in version.split(".")[:2]])
SCALING = ["direct", "keda-push", "keda-prometheus"]
# Which npm package has the type of an object that is not Kubernetes' own.
TYPES = {
    "gateway.networking.k8s.io": "gateway-api",
    "monitoring.coreos.com": "prometheus-operator",
    "keda.sh": "keda",
}
problems: list[str] = []


def problem(where: str, what: str) -> None:
    problems.append(f"{where}: {what}")


def cases() -> dict[str, tuple[str, list[tuple[str, str, str]]]]:
    """Name -> (folder to render, lines to change first: file, from, to). Each change is one that README.md describes."""
    doors = ["ingress", "gateway"]
    if (K8S / "components/monitoring/kustomization.yaml").exists():
        doors.append("monitoring")
    found = {"base": ("base", [])}
    chosen = itertools.chain.from_iterable(itertools.combinations(doors, n) for n in range(len(doors) + 1))
    gamecube = "overlays/gamecube/kustomization.yaml"
    for extra, scaling in itertools.product(list(chosen), SCALING):
        changes = [(gamecube, "  - ../../components/keda-push\n", f"  - ../../components/{scaling}\n")]
        changes += [(gamecube, f"  # - ../../components/{c}\n", f"  - ../../components/{c}\n") for c in extra]
        found["-".join(["gamecube", scaling, *extra])] = ("overlays/gamecube", changes)
    # The choices of the GameCube system also apply to the one with several dispatchers, which is built on it.
    for extra, scaling in itertools.product([[], doors], SCALING):
        changes = found["-".join(["gamecube", scaling, *extra])][1]
        found["-".join(["redis", scaling, *extra])] = ("overlays/redis", changes)
    # Gateways: with an Ingress or a Gateway, and behind the dispatcher with none, one or all of the components.
    found["websocket-gateway"] = ("overlays/websocket-gateway", [])
    alone = "overlays/websocket-gateway/kustomization.yaml"
    found["websocket-gateway-route"] = (
        "overlays/websocket-gateway",
        [(alone, "  - ingress.yaml\n", "  # - ingress.yaml\n"), (alone, "  # - route.yaml\n", "  - route.yaml\n")],
    )
    behind = "overlays/websocket-gateway-dispatcher/kustomization.yaml"
    for extra in ([], ["ingress"], ["gateway"], ["ingress", "gateway", "monitoring", "gateway-monitoring"]):
        changes = [(behind, f"  # - ../../components/{c}\n", f"  - ../../components/{c}\n") for c in extra]
        found["-".join(["websocket-gateway-dispatcher", *extra])] = ("overlays/websocket-gateway-dispatcher", changes)
    for journal, library, scaling in itertools.product(["", "redis-"], ["library-nfs", "library-node"], SCALING):
        changes = [
            (gamecube, "  - ../../components/keda-push\n", f"  - ../../components/{scaling}\n"),
            ("overlays/kind/kustomization.yaml", "  - library-nfs\n", f"  - {library}\n"),
        ]
        if journal:
            changes.append(("overlays/kind/kustomization.yaml", "  - ../gamecube\n", "  - ../redis\n"))
        found[f"kind-{journal}{scaling}-{library}"] = ("overlays/kind", changes)
    return found


def render(kubectl: Path, name: str, folder: str, changes: list[tuple[str, str, str]]) -> str | None:
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(K8S, f"{copy}/k8s")
        for file, there, then in changes:
            path = Path(copy, "k8s", file)
            text = path.read_text()
            if text.count(there) != 1:
                problem(name, f"{file} has {text.count(there)} lines {there.strip()!r}, not one")
                return None
            path.write_text(text.replace(there, then))
        done = subprocess.run([kubectl, "kustomize", f"{copy}/k8s/{folder}"], capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        problem(name, f"kubectl kustomize: {done.stderr.strip()}")
        return None
    return done.stdout


def strict(schema):
    """KEDA's schema with unknown fields refused, as an API server with fieldValidation=Strict does."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {k: strict(v) for k, v in schema.items() if k != "x-kubernetes-int-or-string"} | (
        {"anyOf": [{"type": "integer"}, {"type": "string"}]} if schema.get("x-kubernetes-int-or-string") else {}
    )
    if "properties" in schema and "additionalProperties" not in schema and isinstance(schema["properties"], dict):
        keeps = schema.get("x-kubernetes-preserve-unknown-fields")
        schema["additionalProperties"] = bool(keeps)
    return schema


def definitions() -> dict[tuple[str, str], dict]:
    found = {}
    for file in sorted(CRDS.glob("*.yaml")):
        for crd in filter(None, yaml.safe_load_all(file.read_text())):
            for version in crd["spec"]["versions"]:
                schema = version["schema"]["openAPIV3Schema"]
                schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                found[key] = strict(schema)
    return found


def validate(where: str, thing: dict, crds: dict) -> None:
    version, kind = thing["apiVersion"], thing["kind"]
    group = version.rpartition("/")[0]
    try:
        if (version, kind) in crds:
            jsonschema.validate(thing, crds[version, kind])
        elif group not in TYPES:
            kubernetes_validate.validate(thing, KUBERNETES, strict=True)
    except jsonschema.ValidationError as error:
        problem(where, f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}")
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        problem(where, str(error)[:300])


def check_types(npm: Path, things: dict[str, list[str]]) -> None:
    """Has TypeScript compare each object with the type of its kind: unknown, missing and wrong fields are errors."""
    if not npm.is_dir():
        print(f"manifests: {len(things)} objects NOT COMPARED with the types of {', '.join(TYPES.values())}: no {npm}")
        return
    lines, origin = [], {}
    for text, where in sorted(things.items()):
        thing = json.loads(text)
        package = TYPES[thing["apiVersion"].rpartition("/")[0]]
        kind = thing["kind"]
        number = len(lines) // 2
        lines.append(
            f"import type {{ I{kind} as T{number} }} from '@kubernetes-models/{package}/{thing['apiVersion']}/{kind}';"
        )
        lines.append(f"export const x{number}: T{number} = {text};")
        origin[len(lines)] = where[0]
    (npm / "objects.ts").write_text("\n".join(lines) + "\n")
    options = "--noEmit --strict --skipLibCheck --module nodenext --target es2022 --pretty false".split()
    done = subprocess.run(
        ["node", "node_modules/typescript/bin/tsc", *options, "objects.ts"], cwd=npm, capture_output=True, text=True, check=False
    )
    for line in filter(None, done.stdout.splitlines()):
        at = re.match(r"objects\.ts\((\d+),\d+\): (.*)", line)
        problem(origin.get(int(at[1]), "objects.ts") if at else "types", at[2] if at else line)
    if done.returncode and not done.stdout:
        problem("types", done.stderr.strip())


def check_files(shellcheck: Path) -> int:
    """Each file opens with a comment that describes it; scripts pass shellcheck."""
    folders = (PROJECT / "tests", PROJECT / "tests/manifests")
    scripts = [p for folder in folders for p in folder.iterdir() if p.suffix == "" and p.is_file()]
    count = 0
    for path in sorted(p for p in K8S.rglob("*") if p.is_file()):
        text = path.read_bytes()[:400]
        if path.suffix in {".ch8", ".md", ".json", ".html"}:
            continue
        count += 1
        if not text.startswith(b"#"):
            problem(str(path.relative_to(PROJECT)), "does not open with a comment that describes it")
        if text.startswith(b"#!"):
            scripts.append(path)
            if not os.access(path, os.X_OK):
                problem(str(path.relative_to(PROJECT)), "is a script, but may not be executed")
    scripts = [s for s in scripts if s.read_bytes().startswith(b"#!") and b"sh" in s.read_bytes().split(b"\n", 1)[0]]
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    if done.returncode:
        problem("shellcheck", done.stdout.strip())
    return count


def main() -> None:
    into = Path(sys.argv[1])
    tools = into / "venv/bin"
    rendered = into / "rendered"
    shutil.rmtree(rendered, ignore_errors=True)
    rendered.mkdir()
    things: dict[str, list[str]] = {}
    todo = cases()
    with ThreadPoolExecutor() as pool:
        texts = pool.map(lambda case: render(tools / "kubectl", case[0], *case[1]), todo.items())
    for name, text in zip(todo, texts):
        if text is None:
            continue
        (rendered / f"{name}.yaml").write_text(text)
        # The loader in C, as there is much to read.
        for thing in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            where = f"{name}: {thing['kind']} {thing['metadata']['name']}"
            things.setdefault(json.dumps(thing, sort_keys=True, default=str), []).append(where)
    crds = definitions()
    for text, where in things.items():
        validate(where[0], json.loads(text), crds)
    typed = {t: w for t, w in things.items() if json.loads(t)["apiVersion"].rpartition("/")[0] in TYPES}
    check_types(into / "npm", typed)
    files = check_files(tools / "shellcheck")
    print(
        f"manifests: {len(todo)} combinations, {sum(map(len, things.values()))} objects ({len(things)} different ones, "
        f"{len(typed)} of other projects), {files} files; Kubernetes {KUBERNETES}"
    )
    for line in problems:
        print(line, file=sys.stderr)
    sys.exit(bool(problems))


main()
