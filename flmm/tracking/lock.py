"""Which ``dvc.lock`` the current runs belong to: a tag, so that a run leads back to the versions of its files."""

from pathlib import Path

from flmm.errors import StepError
from flmm.files import sha256_file
from flmm.params import Params
from flmm.tracking.store import STORE_ERRORS, Store
from flmm.tracking.uri import tracking_uri

TAG = "dvc_lock"


def tell_lock(params: Params, lock: Path) -> None:
    """Tag every current run of the suite with the SHA-256 of ``lock``.

    Raises:
        StepError: the store does not answer.
    """
    digest = sha256_file(lock)
    try:
        store = Store.connect(timeout=5, retries=0)
        for run in list(store.current(params.suite)):
            store.client.set_tag(run.info.run_id, TAG, digest)
    except STORE_ERRORS as error:
        raise StepError(
            f"MLflow at {tracking_uri()} failed ({error}); its runs lack the tag {TAG}"
        ) from error
