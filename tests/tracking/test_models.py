"""Heads in MLflow's registry: one version per head, `current` follows the results, and a server answers with masks."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from safetensors.numpy import load_file

from flmm.data.sample import decode_rle
from flmm.params import Params
from flmm.pipeline import paths
from flmm.shipped import HEADS, MODELS
from flmm.tracking import models
from flmm.tracking.store import Store, tracking_uri
from flmm.tracking.track import track
from tests.ports import free_port
from tests.tracking.servers import wait_for
from tests.tracking.test_tracking import BACKBONE, _write_training, empty_store, params

__all__ = ["empty_store", "params"]  # fixtures


def versions() -> list[str]:
    found = Store.connect().client.search_model_versions(f"name = '{BACKBONE}'")
    return sorted(str(version.version) for version in found)


def current() -> str:
    found = Store.connect().client.get_model_version_by_alias(BACKBONE, models.ALIAS)
    return str(found.version)


def test_a_head_is_registered_once_and_current_means_the_present_one(params: Params) -> None:
    for _ in range(2):
        track(params, reports=Path("reports"))
    assert versions() == [current()] == ["1"]
    _write_training(params, loss=2.0)
    track(params, reports=Path("reports"))
    assert versions() == ["1", "2"] and current() == "2"
    version = Store.connect().client.get_model_version(BACKBONE, "2")
    assert "Input, one row per picture" in version.description
    run = Store.connect().client.get_run(version.run_id)
    assert run.data.tags["step"] == "train"


@pytest.fixture
def server(params: Params) -> Iterator[str]:
    """`mlflow models serve` on the shipped head, as registered by `track`."""
    head = HEADS / BACKBONE / "head.safetensors"
    assert load_file(head)
    (paths.trained(params, BACKBONE) / "head.safetensors").write_bytes(head.read_bytes())
    raw = params.model_dump()
    raw["catalogue"][BACKBONE]["model"] = str(MODELS / BACKBONE)
    track(Params(**raw), reports=Path("reports"))
    port = free_port()
    with Path("server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{BACKBONE}@{models.ALIAS}",
             "--env-manager", "local", "-p", str(port), "-w", "1"],
            env=os.environ | {"MLFLOW_TRACKING_URI": tracking_uri(), "MLFLOW_DISABLE_TELEMETRY": "true",
                              "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            try:
                wait_for(f"{url}/ping", process)
            except AssertionError as error:
                raise AssertionError(Path("server.log").read_text()[-2000:]) from error
            yield url
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.mark.pipeline
def test_a_server_answers_with_masks_and_a_wrong_request_gets_a_sentence(server: str) -> None:
    row = models.example().to_dict("records")[0]

    def ask(**changes: object) -> requests.Response:
        content = json.dumps({"dataframe_records": [row | changes]})
        headers = {"Content-Type": "application/json"}
        return requests.post(f"{server}/invocations", content, headers=headers, timeout=600)

    (answer,) = ask().json()["predictions"]
    (mask,), (box,) = answer["masks"], answer["boxes"]
    assert answer["phrases"] == ["the red circle"] and mask["size"] == [72, 96]
    pixels = decode_rle(mask["counts"], 72, 96)
    assert pixels[36, 40] and not pixels[5, 90]  # the circle's middle, a corner
    assert box[0] < 40 < box[2] and box[1] < 36 < box[3] and 0.5 < answer["scores"][0] <= 1
    for changes, sentence in (
        ({"image": "bm8gcGljdHVyZQ=="}, "row 0: image: not a readable picture"),
        ({"image": "?"}, "row 0: image: not the base64 text of a picture's file"),
        ({"phrases": []}, "row 0: phrases: the list is empty"),
    ):
        response = ask(**changes)
        assert response.status_code == 400 and sentence in response.text, response.text
