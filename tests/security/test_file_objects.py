"""File objects in arguments: no event reads or copies a file of the server, in any input, however it is written.

The events and inputs are those of the running page. Here each component, each kind of input of each event, each shape
and each spelling is tried; `python -m tests.security.fuzz --of paths` sends every spelling to every
input, while the shapes take turns.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from .running import Event, inputs
from .spellings import SHAPES
from .target import CLOUD, Target

Attack = tuple[Event, int, str, str]
FILE_FIELDS = ("file", "uploadbutton", "image")


def plan(page: Target, seed: int = 0) -> Iterator[Attack]:
    """Pair every component and every kind of input of every event with shapes and spellings, all of which occur."""
    shapes = [shape for shape in SHAPES if shape != "text" or page.door != "open"]
    pairs = list(itertools.product(shapes, page.paths))
    random.Random(seed).shuffle(pairs)
    # Half of the pairs on each page: every shape and every spelling, not every pair of them.
    pairs = pairs[::2] if page.door == "accounts" else pairs[1::2]
    following = itertools.cycle(pairs)
    count, met, kinds, fields = 0, set(), set(), []
    for event, at in inputs(page.running.events):
        component, kind = event.components[at], event.types[at]
        if kind in FILE_FIELDS:
            fields.append((event, at))
        if component not in met or (event.index, kind) not in kinds:
            met.add(component)
            kinds.add((event.index, kind))
            count += 1
            yield event, at, *next(following)
    for (event, at), _ in zip(itertools.cycle(fields), range(max(0, len(pairs) - count))):
        yield event, at, *next(following)


def attack(page: Target, attacks: Iterator[Attack]) -> tuple[int, list[str]]:
    """Make the attacks; return how many they were, and which of them succeeded."""
    count, faults = 0, []
    for event, at, shape, spelling in attacks:
        value = SHAPES[shape](page.paths[spelling])
        answer = page.running.call(event, event.arguments(at, value), event_data=value)
        count += 1
        faults += [
            f"{event.name}[{at}] ({event.types[at]}), {shape}, {spelling}: {problem}"
            for problem in page.problems(answer, value)
        ]
    return count, faults


@pytest.mark.parametrize("page", ["open", "accounts"], indirect=True)
def test_no_input_of_any_event_takes_a_file_of_the_server(page: Target) -> None:
    count, faults = attack(page, plan(page))
    assert count > 500 and not faults, faults[:20]
    assert page.foreign_copies() == []


@pytest.mark.parametrize("page", ["open", "accounts"], indirect=True)
def test_no_other_way_to_an_event_takes_one(page: Target) -> None:
    """By name, through the queue, as a component's own function, as the data that comes with a browser's event."""
    faults = []
    tried = 0
    public = [event for event in page.running.events if event.public]
    assert {"submit", "status", "events", "cancel", "predict", "predict_file"} <= {event.name for event in public}
    following = itertools.cycle(itertools.product(list(SHAPES)[:-1], page.paths))
    for event in public:
        for at in range(len(event.components)):
            for route in ("/gradio_api/api/{}", "/gradio_api/run/{}/", "/gradio_api/call/{}", "/gradio_api/call/v2/{}"):
                shape, spelling = next(following)
                value = SHAPES[shape](page.paths[spelling])
                answer = page.running.post(route.format(event.name), {"data": event.arguments(at, value)})
                tried += 1
                faults += [(event.name, route, shape, spelling, one) for one in page.problems(answer, value)]
    for event in page.running.events[::4]:
        shape, spelling = next(following)
        value = SHAPES[shape](page.paths[spelling])
        arguments = event.arguments(0, value) if event.components else []
        body = {"data": arguments, "fn_index": event.index, "session_hash": "queue", "event_data": value}
        answer = page.running.post("/gradio_api/queue/join", body)
        tried += 1
        faults += [(event.name, "queue", shape, spelling, one) for one in page.problems(answer, value)]
    for component, kind in page.running.components.items():
        shape, spelling = next(following)
        value = SHAPES[shape](page.paths[spelling])
        for function in ("ls", "preprocess", "postprocess") if kind in FILE_FIELDS else ("ls",):
            body = {"data": value, "component_id": component, "fn_name": function, "session_hash": "server"}
            answer = page.running.post("/gradio_api/component_server", body)
            tried += 1
            assert answer.status >= 400, (kind, function, answer.text)
            faults += [(kind, function, shape, spelling, one) for one in page.problems(answer, value)]
    assert tried > 500 and not faults, faults[:20]


@pytest.mark.parametrize("page", ["open", "accounts"], indirect=True)
def test_no_address_serves_a_file_of_the_server(page: Target) -> None:
    faults = []
    for route in ("file=", "file/", "proxy=", "custom_component/1/client/component/", "stream/x/1/1/"):
        for spelling, path in page.paths.items():
            for prefix in ("/gradio_api/", "/"):
                written = path.encode("ascii", "backslashreplace").decode()
                written = "".join(
                    one if one.isprintable() and one not in " ?#" else f"%{ord(one):02x}" for one in written
                )
                answer = page.client.get(f"{prefix}{route}{written}", follow_redirects=False)
                if answer.status_code == 200 and spelling not in ("climbing from the uploads",):
                    assert page.canary.secret not in answer.text, (route, spelling)
                if page.canary.opened() or page.asked or page.canary.secret in answer.text:
                    faults.append((prefix, route, spelling, answer.status_code))
    assert not faults, faults[:20]


@pytest.mark.parametrize("page", ["open", "accounts"], indirect=True)
def test_an_upload_is_taken_where_files_belong(page: Target) -> None:
    """The honest twin."""
    running = page.running
    path = running.upload("four.zip", CLOUD)
    event = running.event("_keep_upload")
    value = {"path": path, "orig_name": "four.zip", "meta": {"_type": "gradio.FileData"}}
    answer = running.call(event, event.arguments(0, value))
    assert answer.status == 200, answer.text
