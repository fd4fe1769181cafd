"""Ids differ, whoever draws them."""

import os
import threading

from gateway import chance
from gateway.envelope import new_request_id


def test_no_two_ids_are_alike_in_any_thread():
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.extend(new_request_id() for _ in range(3 * chance.AHEAD)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == len(found) == 12 * chance.AHEAD
    assert all(len(one) == len("req_") + 2 * chance.SIZE for one in found)


def test_a_forked_process_draws_its_own():
    new_request_id()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, "\n".join(new_request_id() for _ in range(chance.AHEAD)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = set(os.read(reading, 2**16).decode().split())

    assert len(theirs) == chance.AHEAD
    assert not theirs & {new_request_id() for _ in range(chance.AHEAD)}
