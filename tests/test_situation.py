"""Where the program runs: what is said about the dashboard, and about what becomes of results, in each place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.program import ROOT
from tictactoe import situation
from tictactoe.situation import Situation, here

ID = "0123456789ab" * 5 + "0123"
RESULTS = Path("/results")
OVERLAY = "1 0 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/a"
HOSTNAME = f"2 1 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/vda rw"
VOLUMES = {
    "named": "3 1 254:1 /var/lib/docker/volumes/ray-tune-results/_data /results rw - ext4 /dev/vda rw",
    "folder": r"3 1 254:1 /home/a\040b/results /results rw - ext4 /dev/vda rw",
    "claim": "3 1 254:1 /var/hostpath-provisioner/default/mnist-ray-tune-results /results rw - ext4 /dev/vda rw",
    "anonymous": f"3 1 254:1 /var/lib/docker/volumes/{ID}/_data /results rw - ext4 /dev/vda rw",
    "podman's anonymous": f"3 1 254:1 /volumes/{ID}/_data /results rw - xfs /dev/vda rw",
    "emptyDir": "3 1 254:1 /var/lib/kubelet/pods/1-2/volumes/kubernetes.io~empty-dir/results /results rw - ext4 /dev/vda rw",
    "tmpfs": "3 1 0:60 / /results rw - tmpfs tmpfs rw",
    "none": "",
}
LOST = ("anonymous", "podman's anonymous", "emptyDir", "tmpfs", "none")


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def root(
    tmp_path: Path, volume: str = "none", mark: str = ".dockerenv", first: str = OVERLAY, hostname: str = HOSTNAME
) -> Path:
    """A root folder as an engine makes it, so far as it is looked at."""
    for name, text in ((mark, ""), ("proc/self/mountinfo", "\n".join(filter(None, (first, hostname, VOLUMES[volume]))))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("volume", VOLUMES)
@pytest.mark.parametrize(("mark", "engine"), [(".dockerenv", "docker"), ("run/.containerenv", "podman")])
def test_a_container_says_whether_anything_is_kept(tmp_path: Path, volume: str, mark: str, engine: str) -> None:
    place = here(root(tmp_path, volume, mark), parent=1)
    assert (place.place, place.name) == (engine, ID[:12])
    if volume in LOST:
        assert not place.keeps(RESULTS)
        (note,) = place.notes(RESULTS)
        assert "nothing is kept without a volume" in note and "`-v ray-tune-results:/results`" in note
        assert "nothing is kept without a volume" in place.kept(RESULTS, fresh=False)
        assert f"`{engine} start {ID[:12]}` to go on, if it was run without --rm" in place.kept(RESULTS, fresh=False)
        assert engine not in place.go_on(RESULTS, fresh=True)
    else:
        assert place.notes(RESULTS) == []
        assert place.kept(RESULTS, fresh=False) == "finished trials are kept: run the same command again to go on"


def test_a_pod_says_whether_anything_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    place = here(root(tmp_path, "claim"), parent=1)
    assert place.notes(RESULTS) == []
    assert place.kept(RESULTS, fresh=False) == "finished trials are kept: let Kubernetes start it again to go on"
    place = here(root(tmp_path, "emptyDir"), parent=1)
    assert "deployment.yaml" in place.notes(RESULTS)[0]
    assert "end with the pod" in place.kept(RESULTS, fresh=False)


def test_where_the_program_is_not_the_main_one_the_same_command_can_be_given_again(tmp_path: Path) -> None:
    """A developer's container, or a machine that was made of an image and still has its mark."""
    for place in (here(root(tmp_path), parent=1000), here(tmp_path / "other", parent=1)):
        assert place == Situation("machine")
        assert place.notes(RESULTS) == []
        assert (
            place.kept(RESULTS, fresh=True) == "finished trials are kept: run the same command again without --fresh to go on"
        )
        assert place.dashboard("http://localhost:8265") == "http://localhost:8265"


def test_the_images_own_first_process_need_not_be_number_one(tmp_path: Path) -> None:
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "comm").write_text("tini\n")
    assert here(root(tmp_path), parent=7).place == "docker"


def test_a_machine_made_of_an_image_keeps_its_disk(tmp_path: Path) -> None:
    disk = "1 0 254:0 / / rw,relatime - ext4 /dev/vda rw"
    assert here(root(tmp_path, first=disk), parent=1).keeps(RESULTS)
    layer = "1 0 254:0 /var/lib/docker/vfs/dir/0123 / rw,relatime - ext4 /dev/vda rw"
    assert not here(root(tmp_path, first=layer), parent=1).keeps(RESULTS)


def test_the_dashboards_address_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = here(root(tmp_path), parent=1)
    assert place.dashboard("http://localhost:8266") == "http://localhost:8266 (where `docker run` has `-p 8266:8266`)"
    assert place.dashboard("http://10.0.0.7:8265") == "http://10.0.0.7:8265"  # another's Ray
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr("socket.gethostname", lambda: "mnist-ray-tune-6f7f9c5d4-abcde")
    text = here(root(tmp_path), parent=1).dashboard("http://localhost:8265")
    assert all(way in text for way in ("port 30000 of the node", "`minikube service mnist-ray-tune-service`"))
    assert "`kubectl port-forward deploy/mnist-ray-tune 8265`" in text
    assert "30000" not in here(root(tmp_path), parent=1).dashboard("http://localhost:8266")  # the service has no such port
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    text = here(root(tmp_path), parent=1).dashboard("http://localhost:8265")
    assert "`kubectl port-forward pod/another 8265`" in text and "minikube" not in text


@pytest.mark.parametrize(
    ("pod", "name"),
    [
        ("mnist-ray-tune-6f7f9c5d4-abcde", "deploy/mnist-ray-tune"),
        ("mnist-ray-tune-worker-6f7f9c5d4-abcde", "pod/mnist-ray-tune-worker-6f7f9c5d4-abcde"),
        ("mnist-ray-tune-x7k2p-head-abcde", "pod/mnist-ray-tune-x7k2p-head-abcde"),  # KubeRay's
        ("mnist-ray-tune-x7k2p-head", "pod/mnist-ray-tune-x7k2p-head"),
    ],
)
def test_only_its_own_pod_is_the_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pod: str, name: str) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr("socket.gethostname", lambda: pod)
    assert here(root(tmp_path), parent=1).name == name


def test_without_the_engines_file_the_container_has_its_hosts_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    assert here(root(tmp_path, hostname=""), parent=1).name == "box"


def test_names_are_those_of_the_manifests() -> None:
    deployment, _ = yaml.safe_load_all((ROOT / "deployment.yaml").read_text())
    service = yaml.safe_load((ROOT / "service.yaml").read_text())
    (port,) = service["spec"]["ports"]
    assert (deployment["metadata"]["name"], service["metadata"]["name"]) == (situation.DEPLOYMENT, situation.SERVICE)
    assert (port["nodePort"], port["port"]) == (situation.NODE_PORT, situation.PORT)
    assert f"-v {situation.VOLUME}:/results" in (ROOT / "docs" / "docker-and-kubernetes.md").read_text()
