"""Only holders of keys take part; addresses that would let others in are refused."""

import stat
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from node_agent.errors import InputError
from testbed.cells.cluster.choice import ClusterChoice
from testbed.cells.cluster.keys import key_files, make_keys
from tests.testbed.cells.cluster.machines import ROOT, command, compare, machines
from tests.testbed.compare.topology import write


@pytest.fixture(scope="module")
def strange_keys(tmp_path_factory):
    """Keys of another cluster."""
    folder = tmp_path_factory.mktemp("strange") / "keys"
    make_keys(folder)
    return folder


def test_keys_are_readable_by_their_owner_only(keys):
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in keys.iterdir()} == {0o600}
    assert len(list(keys.iterdir())) == 7


def test_the_authority_signed_every_certificate_and_its_key_is_gone(keys):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    authority = x509.load_pem_x509_certificate((keys / "ca.pem").read_bytes())
    signer = authority.public_key().public_numbers()
    for role in ("scheduler", "worker", "client"):
        files = key_files(keys, role)
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        certificate.verify_directly_issued_by(authority)
        key = load_pem_private_key(files.key.read_bytes(), None)
        assert key.public_key().public_numbers() == certificate.public_key().public_numbers() != signer
        valid = certificate.not_valid_after_utc - datetime.now(UTC)
        assert timedelta(days=364) < valid <= timedelta(days=365)


def test_keys_are_never_overwritten(keys):
    before = {file: file.read_bytes() for file in keys.iterdir()}
    with pytest.raises(InputError, match=r"holds keys already: ca\.pem"):
        make_keys(keys)
    assert {file: file.read_bytes() for file in keys.iterdir()} == before


@pytest.mark.parametrize("days", [0, 3651])
def test_certificates_end(tmp_path, days):
    with pytest.raises(InputError, match=f"for {days} days"):
        make_keys(tmp_path / "keys", days=days)
    assert not (tmp_path / "keys").exists()


def test_a_key_that_others_may_read_is_refused(tmp_path):
    make_keys(tmp_path / "keys")
    (tmp_path / "keys" / "client-key.pem").chmod(0o640)
    with pytest.raises(InputError, match="other users may read this private key") as caught:
        key_files(tmp_path / "keys", "client")
    assert caught.value.hint.startswith("chmod 600 ")
    (tmp_path / "keys" / "client-key.pem").unlink()
    with pytest.raises(InputError, match=r"client-key.pem: there is no such key file"):
        key_files(tmp_path / "keys", "client")


def test_the_command_makes_keys(tmp_path):
    done = subprocess.run(
        command("cluster", "keys", tmp_path / "keys"), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    assert sorted(done.stdout.split()) == sorted(str(file) for file in (tmp_path / "keys").iterdir())
    again = subprocess.run(
        command("cluster", "keys", tmp_path / "keys"), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (again.returncode, again.stdout) == (3, "")
    assert "holds keys already" in again.stderr


def test_a_worker_without_the_keys_is_refused(tmp_path, keys, strange_keys):
    """It never registers, while one with the keys does."""
    with machines(tmp_path / "machines", keys) as found:
        strange = found.start_worker(keys=strange_keys, wait=False)
        found.start_worker()
        strange.wait(60)  # it gives up
        assert "Registered to" not in found.log("worker-1")
        assert "certificate" in found.log("worker-1").lower()
        assert "Registered to" in found.log("worker-2")
        assert found.log("scheduler").count("Register worker") == 1


@pytest.mark.parametrize("how", ["other keys", "no keys"])
def test_a_client_without_the_keys_is_refused(tmp_path, two_workers, strange_keys, how):
    out = tmp_path / "out"
    url = two_workers.url if how == "other keys" else two_workers.url.replace("tls", "tcp")
    options = ["--scheduler", url, *(["--keys", strange_keys] if how == "other keys" else [])]
    done = compare(write(tmp_path), "-p", "uniform", "-n", "1", "--out", out, *options)
    assert done.returncode == 4
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith(f"error: cannot connect to the scheduler {url}: ")
    assert "keys of the same" in hint
    assert "Traceback" not in done.stderr


def test_the_keys_of_a_client_make_no_worker(tmp_path, keys):
    """A worker that shows the certificate of a client cannot serve others, as nobody accepts it as a server's."""
    posing = tmp_path / "posing"
    posing.mkdir()
    for name, source in (
        ("ca.pem", "ca.pem"),
        ("scheduler.pem", "client.pem"),
        ("scheduler-key.pem", "client-key.pem"),
    ):
        (posing / name).write_bytes((keys / source).read_bytes())
    with machines(tmp_path / "machines", posing) as found:
        done = compare(
            write(tmp_path), "-p", "uniform", "-n", "1", "--out", tmp_path / "out", "--scheduler", found.url,
            "--keys", keys,
        )  # fmt: skip
    assert done.returncode == 4
    assert "cannot connect to the scheduler" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scheduler", "tcp://192.0.2.1:8786"], "can run any code on its workers"),
        (["--scheduler", "tcp://0.0.0.0:8786"], "can run any code on its workers"),
        (["--scheduler", "tcp://example.org:8786"], "can run any code on its workers"),
        (["--scheduler", "tcp://[2001:db8::1]:8786"], "can run any code on its workers"),
        (["--scheduler", "tls://192.0.2.1:8786"], "needs keys"),
        (["--scheduler", "tls://192.0.2.1:8786", "--keys", "k", "--insecure"], "--insecure is for tcp://"),
        (["--scheduler", "tcp://localhost:8786", "--keys", "k"], "keys are for tls://"),
        (["--scheduler", "192.0.2.1:8786"], "is no address of a scheduler"),
        (["--scheduler", "tls://192.0.2.1"], "is no address of a scheduler"),
        (["--scheduler", "tls://192.0.2.1:99999"], "is no address of a scheduler"),
        (["--scheduler", "http://192.0.2.1:8786"], "is no address of a scheduler"),
        (["--scheduler", "tcp://localhost:8786", "--workers", "2"], "and not both"),
        (["--workers", "2", "--keys", "k"], "are for --scheduler"),
        (["--workers", "2000"], "2000 workers cannot be started"),
        (["--insecure"], None),
        (["--keys", "k"], None),
    ],
)
def test_such_an_address_is_refused_before_anything_is_read(tmp_path, options, said):
    done = compare(tmp_path / "none.yaml", "-p", "uniform", *options)
    assert done.returncode == 2, done.stderr
    assert (said or "a scheduler or a number of workers") in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    "url", ["tcp://localhost:8786", "tcp://127.0.0.1:8786", "tcp://127.1.2.3:1", "tcp://[::1]:8786"]
)
def test_plain_tcp_stays_on_this_machine(url):
    assert ClusterChoice(url).scheduler == url


def test_plain_tcp_to_others_needs_consent():
    assert ClusterChoice("tcp://192.0.2.1:8786", insecure=True).insecure


def test_live_runs_need_machines_of_their_own(tmp_path):
    done = subprocess.run(
        command("compare", write(tmp_path), "-p", "uniform", "--workers", "2"), cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert "cannot share it for live runs" in done.stderr
    done = compare(write(tmp_path), "-p", "uniform", "--workers", "2", "--jobs", "2")
    assert done.returncode == 3
    assert "leave out --jobs" in done.stderr
