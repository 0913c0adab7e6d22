"""Whether the hub answers: asked once and for seconds, since its library goes on trying for a minute."""

import functools
import os
import threading
import time

SECONDS = 5.0
"""How long is waited for an answer; HF_HUB_ETAG_TIMEOUT sets another time."""


def only_cached(name: str) -> bool:
    """Whether a model must be taken from the cache of downloads, because the hub does not answer.

    Args:
        name: OWNER/NAME.

    Raises:
        ValueError: the cache does not hold it either, or it is no name that a model can have.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(name)
    why = _why_silent(constants.ENDPOINT, int(time.monotonic() // 60))
    if why is None:
        return False
    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        raise ValueError(
            f"no model at 'hub:{name}': {why}, and the cache of downloads has no such model. Give the directory of a "
            "model, or download it where there is a network (hf download) and copy its directory"
        )
    return True


@functools.lru_cache(maxsize=1)
def _why_silent(endpoint: str, minute: int) -> str | None:
    """None where the hub answers, whatever it says; asked again in another minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids to ask the hub"
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or SECONDS)
    found: list[str | None] = []
    # In a thread, since no timeout of a client bounds the time that looking up a name takes.
    asking = threading.Thread(target=lambda: found.append(_ask(endpoint, seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    reason = found[0] if found else f"no answer within {seconds:g} s"
    return reason and f"the hub at {endpoint} cannot be reached ({reason})"


def _ask(endpoint: str, seconds: float) -> str | None:
    from huggingface_hub.utils import get_session

    try:
        get_session().head(endpoint, timeout=seconds)  # with the proxies and certificates of the library
    except Exception as error:  # of whichever client the library uses
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None
