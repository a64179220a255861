"""What `deploy/` has for containers, Kubernetes and Slurm, and that it agrees with the descriptions of clusters."""

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from search.parsing import options

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
RAYJOB: dict[str, Any] = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
HEAD = RAYJOB["spec"]["rayClusterSpec"]["headGroupSpec"]
WORKERS = RAYJOB["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The part of KubeRay's own schema that speaks of what `rayjob.yaml` uses.
SCHEMA = ROOT / "tests" / "rayjob.schema.json"
# KubeRay's whole one: helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml of github.com/ray-project/kuberay.
WHOLE = os.environ.get("PEDIGREE_RAYJOB_CRD", "")
KEPT = ("type", "enum", "required", "pattern", "anyOf", "minimum", "maximum", "format", "x-kubernetes-int-or-string")


def reduced(schema: dict[str, Any], used: list[Any]) -> dict[str, Any]:
    """A Kubernetes schema with the fields alone that some values use, and that refuses all others."""
    found: dict[str, Any] = {name: schema[name] for name in KEPT if name in schema}
    maps = [value for value in used if isinstance(value, dict)]
    if "properties" in schema:
        names = sorted({name for value in maps for name in value} & set(schema["properties"]))
        below = {name: [value[name] for value in maps if name in value] for name in names}
        found["properties"] = {name: reduced(schema["properties"][name], below[name]) for name in names}
        found["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = reduced(
            schema["additionalProperties"], [entry for value in maps for entry in value.values()]
        )
    if "items" in schema:
        found["items"] = reduced(
            schema["items"], [entry for value in used if isinstance(value, list) for entry in value]
        )
    return found


def schema_of(crd: dict[str, Any]) -> dict[str, Any]:
    """What KubeRay's definition says of the version that `rayjob.yaml` names; `metadata` is Kubernetes' own affair."""
    version = RAYJOB["apiVersion"].rpartition("/")[2]
    (schema,) = [found["schema"]["openAPIV3Schema"] for found in crd["spec"]["versions"] if found["name"] == version]
    schema["properties"]["metadata"] = {"type": "object", "additionalProperties": {"type": "string"}}
    return dict(schema)


def test_the_rayjob_holds_to_the_schema_of_kuberay() -> None:
    jsonschema.validate(RAYJOB, json.loads(SCHEMA.read_text()))
    assert (RAYJOB["apiVersion"], RAYJOB["kind"]) == ("ray.io/v1", "RayJob")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("spec", "entryPoint"), "pedigree", "'entryPoint' was unexpected"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas"), "4", "'4' is not of type 'integer'"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "groupName"), None, "'groupName' is a required property"),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "password", "'password' is not one of"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0, "0 is not of type 'string'"),
    ],
)
def test_the_schema_refuses_what_kuberay_would_refuse(path: tuple[str | int, ...], value: Any, said: str) -> None:
    changed: Any = copy.deepcopy(RAYJOB)
    place = changed
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError, match=re.escape(said)):
        jsonschema.validate(changed, json.loads(SCHEMA.read_text()))


@pytest.mark.skipif(not WHOLE, reason="needs KubeRay's ray.io_rayjobs.yaml in PEDIGREE_RAYJOB_CRD")
def test_the_schema_is_a_part_of_kuberays() -> None:
    schema = schema_of(yaml.load(Path(WHOLE).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    jsonschema.validate(RAYJOB, schema)
    assert json.loads(SCHEMA.read_text()) == reduced(schema, [RAYJOB])


def test_the_rayjob_runs_a_search_as_the_other_clusters_do() -> None:
    program, command, *arguments = shlex.split(RAYJOB["spec"]["entrypoint"])
    assert (program, command) == ("pedigree", "search")
    given = options(arguments)
    # What waits for a pod is bounded by it: without one a growing cluster would not grow.
    assert given["concurrency"] == WORKERS["maxReplicas"]
    assert given["address"] == "auto"
    assert HEAD["rayStartParams"]["num-cpus"] == "0"
    mounts = {mount["mountPath"] for mount in HEAD["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert "/".join(given["runs_dir"].split("/")[:3]) in mounts
    assert "/".join(given["data"].split("/")[:3]) in mounts


def test_pods_have_one_image_a_cache_of_their_own_and_room_for_rays_objects() -> None:
    pods = [group["template"]["spec"] for group in (HEAD, WORKERS)]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    for pod in pods:
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        (cache,) = [variable["value"] for variable in container["env"] if variable["name"] == "PEDIGREE_CACHE"]
        assert volumes[mounts[cache]]["emptyDir"] == {}
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert container["resources"]["requests"] == container["resources"]["limits"]


def extras(text: str) -> list[str]:
    """What the calls of `install.sh` in a text ask for, each a list of names with commas."""
    return re.findall(r"deploy/install\.sh[\"']? [\"']?(\$\{EXTRAS\}|[a-z,]+)", text)


def test_every_cluster_is_installed_by_the_same_commands() -> None:
    described = {name: yaml.safe_load((ROOT / name).read_text()) for name in ("cluster.yaml", "cluster.local.yaml")}
    asked = {name: extras("\n".join(found["setup_commands"])) for name, found in described.items()}
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    asked["Dockerfile"] = extras(re.sub(r"(?m)^#.*", "", dockerfile))
    asked["slurm.sh"] = extras((DEPLOY / "slurm.sh").read_text())
    assert asked == {
        "cluster.yaml": ["cluster,aws,gpu"], "cluster.local.yaml": ["cluster"], "Dockerfile": ["${EXTRAS}"],
        "slurm.sh": ["cluster"],
    }  # fmt: skip
    named = [*re.findall(r"EXTRAS=([a-z,]+)", dockerfile), "cluster,aws,gpu", "cluster"]
    assert {extra for names in named for extra in names.split(",")} <= set(PROJECT["optional-dependencies"])
    # Nobody has a second list of it.
    files = [*DEPLOY.iterdir(), *(ROOT / name for name in described)]
    assert [path.name for path in files if re.search(r"(?m)^[^#]*\bpip\S* install", path.read_text())] == ["install.sh"]
    # Where the image, the nodes of `ray up` and those of Slurm have their programs.
    for text in [dockerfile, (DEPLOY / "slurm.sh").read_text(), (DEPLOY / "install.sh").read_text()]:
        assert "pedigree-env" in text


def test_the_image_takes_what_other_clusters_are_sent() -> None:
    left_out = yaml.safe_load((ROOT / "cluster.yaml").read_text())["rsync_exclude"]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert sorted(line.removeprefix("**/") for line in ignored) == sorted(name.lstrip("/") for name in left_out)


def install(home: Path, *given: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", DEPLOY / "install.sh", *given], env={**os.environ, "HOME": str(home)}, capture_output=True, text=True
    )


def test_an_environment_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "pedigree-env" / "bin").mkdir(parents=True)
    (tmp_path / "pedigree-env" / "bin" / "ray").touch(mode=0o755)
    for _ in range(2):
        done = install(tmp_path, "cluster")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / ".bashrc").read_text() == "export PATH=$HOME/pedigree-env/bin:$PATH\n"
    assert [path.name for path in (tmp_path / "pedigree-env").rglob("*") if path.is_file()] == ["ray"]


def test_an_install_without_extras_is_refused(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode != 0
    assert "needs extras, such as cluster" in done.stderr
    assert not (tmp_path / "pedigree-env").exists()


def docker_lacks() -> str:
    """What keeps images from being built here, by name."""
    if shutil.which("docker") is None:
        return "docker"
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        return "a running Docker engine"
    (base,) = re.findall(r"(?m)^ARG BASE=(\S+)", (DEPLOY / "Dockerfile").read_text())
    # Without a registry it may have been imported under the same name, from a tree that debootstrap made.
    for words in (["image", "inspect"], ["pull", "-q"]):
        if subprocess.run(["docker", *words, base], capture_output=True).returncode == 0:
            return ""
    return f"the image {base}"


@pytest.mark.slow
def test_the_image_is_built_and_searches(drawn: Path, tmp_path: Path) -> None:
    lacks = docker_lacks()
    if lacks:
        pytest.skip(f"needs {lacks}")
    build = ["docker", "build", "-q", "-f", "deploy/Dockerfile", "."]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    image = built.stdout.strip()
    (tmp_path / "runs").mkdir(mode=0o777)
    (tmp_path / "runs").chmod(0o777)
    search = "search /data --runs-dir /runs --name image --families scratch_keras --trials 1 --epochs 1"
    mounts = ["-v", f"{drawn}:/data:ro", "-v", f"{tmp_path}/runs:/runs"]
    try:
        ran = subprocess.run(
            ["docker", "run", "--rm", "--shm-size", "1g", *mounts, image, *search.split(), "--image-sizes", "32"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert (tmp_path / "runs" / "image" / "report.html").exists()
    finally:
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True)
