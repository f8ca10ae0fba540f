"""An engine process that misbehaves: run as the `container` of a run, it never starts the real one.

`python fake_engine.py MODE ...`: `stubborn` generates and hears no drain, `loading` never gets that far,
`silent` ends with 3 and no word, `refused` says what it does not like, `noisy` prints to the pipe first.
"""

import json
import sys
import time


def send(**message: object) -> None:
    """One message up the pipe."""
    print(json.dumps({"time": time.time(), **message}), flush=True)


def main(mode: str) -> int:
    """Plays its part."""
    send(phase="starting")
    if mode == "silent":
        return 3
    if mode == "refused":
        send(
            ended="failed",
            failure={"class": "EngineError", "message": "engine.x: got 1. Set 2."},
            counts=None,
        )
        return 2
    if mode == "noisy":
        print('a warning, {"no": "message"\n\x00\n[1]\n{"phase": "no time"}', flush=True)
        send(counts={"done": 3, "failed": 1, "in_flight": 2})
        send(ended="empty", failure=None, counts={"done": 4, "failed": 1, "in_flight": 0})
        return 0
    send(phase="loading")
    if mode == "stubborn":
        send(phase="generating")
    time.sleep(600)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
