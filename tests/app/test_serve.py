"""Starting and ending the app from the command line."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port

WITHOUT_GRADIO = "import sys; sys.modules['gradio'] = None; from flmm.cli import main; main()"


def flmm_app(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "flmm"]
    command = [sys.executable, *start, "app", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def test_without_gradio_one_line_says_how_to_get_it() -> None:
    done = flmm_app(code=WITHOUT_GRADIO)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "error: flmm app needs Gradio, which is not installed; in the checkout run: make install-demo"
    ]


def test_a_model_without_its_head_is_refused() -> None:
    done = flmm_app("--model", "somewhere")
    assert done.returncode == 2
    assert "give --head" in done.stderr


def test_a_head_that_does_not_exist_is_named_at_the_start() -> None:
    done = flmm_app("--head", "no/such/head")
    assert done.returncode == 2
    assert "no/such/head" in done.stderr


def test_a_port_that_is_taken_is_named() -> None:
    pytest.importorskip("gradio", reason="the extra `demo` is not installed: make install-demo")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = flmm_app("--port", str(port))
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_app_listens_on_this_machine_alone_and_leaves_no_folder(
    how: signal.Signals, tmp_path: Path
) -> None:
    pytest.importorskip("gradio", reason="the extra `demo` is not installed: make install-demo")
    port = free_port()
    command = [sys.executable, "-m", "flmm", "app", "--port", str(port)]
    environment = os.environ | {
        "TMPDIR": str(tmp_path),
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SHARE": "True",
    }
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs ignore it
    ) as process:
        try:
            assert process.stdout is not None
            assert f"http://127.0.0.1:{port}" in process.stdout.readline()
            assert httpx.get(f"http://127.0.0.1:{port}/", timeout=120).status_code == 200
            assert list(tmp_path.glob("flmm-app-*"))
            listening = [
                line.split()[1]
                for line in Path("/proc/net/tcp").read_text().splitlines()
                if f":{port:04X} 0" in line
            ]
            assert listening
            assert {address.split(":")[0] for address in listening} == {"0100007F"}
            process.send_signal(how)
            assert process.wait(300) == 0
        finally:
            process.kill()
    assert not list(tmp_path.glob("flmm-app-*"))
