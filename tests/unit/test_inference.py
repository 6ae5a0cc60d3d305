"""The Open Inference Protocol over made-up models, as its clients and tools speak it."""

import base64
import gzip
import json
import random
import textwrap
import zlib
from urllib.parse import quote

import pytest

from landmark_ray.serving.base64_photos import decode_photos
from tests.serving import error, photo


def v2(client, inputs, **more):
    return client.post("/v2/models/landmark/infer", json={"inputs": inputs, **more})


def test_open_inference_protocol_takes_base64_in_json(make, bundle):
    client, _ = make()
    text = base64.b64encode(photo()).decode()
    tensor = {"name": "photo", "shape": [2], "datatype": "BYTES", "data": [text, text]}
    value = v2(client, [tensor], id="7", parameters={"top_k": 2}).json()
    assert value["id"] == "7" and value["model_version"] == bundle[1].version
    outputs = {output["name"]: output for output in value["outputs"]}
    assert outputs["landmark_id"]["data"] == [100, 201, 100, 201]
    assert outputs["landmark_id"]["shape"] == [2, 2]
    assert outputs["is_landmark"] == {
        "name": "is_landmark",
        "datatype": "BOOL",
        "shape": [2],
        "data": [True, True],
    }


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"name": "image"}, 400, "one input, photo"),
        ({"datatype": "UINT8"}, 400, "must be BYTES"),
        ({"shape": [3]}, 400, "its shape says 3"),
        ({"shape": [-1]}, 400, "BYTES of shape"),
        ({"shape": "x"}, 400, "inputs.0.shape"),
        ({"data": ["%%%"]}, 400, 'Base64 texts of image files, such as ["/9j/'),
        ({"data": ["%%%"]}, 400, "got a text that begins with '%%%'"),
        ({"data": ["abcde"]}, 400, "Base64"),
        ({"data": ["data:image/jpeg,abcd"]}, 400, "begins with 'data:image/jpeg,"),
        ({"data": ["data:;base64,%41%42%43%44"]}, 400, "begins with 'data:;base64,%41"),
        ({"data": [7]}, 400, '{"b64": "/9j/4AAQSkZJRg…"}]; got 7.'),
        ({"data": [{"b65": "abcd"}]}, 400, "got an object with 'b65'"),
        ({"data": [{"b64": 7}]}, 400, "got 7"),
        ({"data": "abcd"}, 400, "inputs.0.data: Input should be a valid array: photo's data must"),
        ({"data": {"b64": "abcd"}}, 400, '[{"b64": "/9j/'),
        ({"data": [base64.b64encode(b"hello").decode()]}, 415, "not an image"),
        ({"parameters": {"binary_data_size": 5}}, 400, "as long as it says"),
        ({"parameters": {"binary_data_size": "x"}}, 400, "inputs.0.parameters.binary_data_size: "),
        (
            {"parameters": {"binary_size": 5}},
            400,
            "There is no option 'binary_size' in inputs.0.parameters "
            "(did you mean binary_data_size?): there is binary_data_size.",
        ),
        ({"dtype": "BYTES"}, 400, "in inputs.0 (did you mean datatype?): there is name, shape, "),
    ],
)
def test_open_inference_protocol_refuses_in_words(make, change, status, says):
    client, _ = make()
    text = base64.b64encode(photo()).decode()
    tensor = {"name": "photo", "shape": [1], "datatype": "BYTES", "data": [text]}
    assert says in error(v2(client, [tensor | change]), status)


def test_open_inference_protocol_names_its_model_and_version(make, bundle):
    client, _ = make()
    version = bundle[1].version
    for path in ("landmark", f"landmark/versions/{version}"):
        metadata = client.get(f"/v2/models/{path}").json()
        assert metadata["name"] == "landmark" and metadata["versions"] == [version]
        assert client.get(f"/v2/models/{path}/ready").json()["ready"]
    error(client.get("/v2/models/other"), 404)
    error(client.get("/v2/models/landmark/versions/0"), 404)
    assert client.get("/v2/health/live").status_code == 200


def tensor_of(*texts):
    return {"name": "photo", "shape": [len(texts)], "datatype": "BYTES", "data": [*texts]}


PHOTO = photo("PNG", (50, 61))
TEXT = base64.b64encode(PHOTO).decode()
WRITTEN = {
    "wrapped at 76": base64.encodebytes(PHOTO).decode(),
    "wrapped at 64, as Windows ends lines": "\r\n".join(textwrap.wrap(TEXT, 64)),
    "a newline at the end": TEXT + "\n",
    "indented": textwrap.indent("\n".join(textwrap.wrap(TEXT, 60)), "\t "),
    "letters of URLs": base64.urlsafe_b64encode(PHOTO).decode(),
    "letters of URLs, no padding": base64.urlsafe_b64encode(PHOTO).decode().rstrip("="),
    "no padding": TEXT.rstrip("="),
    "a data: URL": f"data:image/png;base64,{TEXT}",
    "a data: URL with parameters": f" Data:image/png;name=a.png;BASE64,{TEXT}\n",
    "a data: URL of a form": f"data:image/png;base64,{quote(TEXT, safe='')}",
    "a data: URL of a form, wrapped": f"data:;base64,{quote(base64.encodebytes(PHOTO), safe='')}",
    "escapes in small letters": "data:;base64,"
    + TEXT.replace("+", "%2b").replace("/", "%2f").replace("=", "%3d"),
    "no type": f"data:;base64,{TEXT}",
    "an object": {"b64": TEXT},
    "an object, wrapped": {"b64": base64.encodebytes(PHOTO).decode()},
    "a list in the list": [TEXT],
}


@pytest.mark.parametrize("how", WRITTEN)
def test_base64_is_read_as_tools_write_it(make, how):
    client, _ = make()
    answer = v2(client, [tensor_of(WRITTEN[how])])
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"][0] == 100


def test_all_bytes_come_through_in_all_letters():
    draw = random.Random(4)
    for size in (*range(70), 1000, 99_999):
        data = draw.randbytes(size)
        for text in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
            wrapped = "\n".join(textwrap.wrap(text.decode(), draw.randint(3, 80)))
            assert decode_photos([wrapped, wrapped.rstrip("="), {"b64": wrapped}]) == 3 * [data]


def test_lines_that_a_shell_breaks_within_a_text_are_read(make):
    client, _ = make()
    text = base64.encodebytes(PHOTO).decode()  # "data": ["$(base64 FILE)"]
    body = '{"inputs": [\n{"name": "photo", "shape": [1], "datatype": "BYTES", "data": ["%s"]}]}\n'
    answer = client.post("/v2/models/landmark/infer", content=body % text)
    assert answer.status_code == 200, answer.text
    sentence = error(client.post("/v2/models/landmark/infer", content=body[:-3] % text), 400)
    assert "Invalid JSON" in sentence


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {"parameters": {"topk": 3}},
            "There is no option 'topk' in parameters (did you mean top_k?): "
            "there is top_k, binary_data_output.",
        ),
        (
            {"top_k": 3},
            "There is no option 'top_k' in the request (did you mean parameters.top_k?): "
            "there is id, parameters, inputs, outputs.",
        ),
        ({"parameters": {"priority": 3}}, "'priority' in parameters: there is top_k, binary"),
        ({"parameters": {"top_k": 0}}, "parameters.top_k: "),
        ({"parameters": {"top_k": 99}}, "parameters.top_k: "),
        ({"parameters": {"top_k": "many"}}, "parameters.top_k: "),
        ({"parameters": {"binary_data_output": "perhaps"}}, "parameters.binary_data_output: "),
        (
            {"outputs": [{"name": "name", "parameters": {"classification": 3}}]},
            "'classification' in outputs.0.parameters: there is binary_data.",
        ),
        ({"outputs": [{"name": "name", "parameters": {"binary_data": "?"}}]}, "binary_data: "),
        ({"outputs": [{"name": "names"}]}, "There are the outputs landmark_id, name, "),
    ],
)
def test_what_the_protocol_has_no_name_for_is_refused(make, more, says):
    client, _ = make()
    sentence = error(v2(client, [tensor_of(TEXT)], **more), 400)
    assert says in sentence and sentence.endswith(".")


def binary(photos, **head):
    """A request of the extension for binary data."""
    data = b"".join(len(one).to_bytes(4, "little") + one for one in photos)
    tensor = tensor_of(*photos) | {"parameters": {"binary_data_size": len(data)}, "data": None}
    text = json.dumps({"inputs": [tensor], **head}).encode()
    return text + data, {"Inference-Header-Content-Length": str(len(text))}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", ""])
def test_binary_data_is_unpacked(make, encoding):
    client, _ = make()
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "": bytes}[encoding]
    body, headers = binary([PHOTO, PHOTO], parameters={"binary_data_output": True, "top_k": 2})
    headers |= {"Content-Encoding": encoding} if encoding else {}
    answer = client.post("/v2/models/landmark/infer", content=pack(body), headers=headers)
    assert answer.status_code == 200, answer.text
    end = int(answer.headers["inference-header-content-length"])
    outputs = {output["name"]: output for output in json.loads(answer.content[:end])["outputs"]}
    assert outputs["landmark_id"]["shape"] == [2, 2]
    assert answer.content[end : end + 8] == (100).to_bytes(8, "little")


def test_of_binary_outputs_each_can_be_asked_for_as_text(make):
    client, _ = make()
    outputs = [{"name": "group"}, {"name": "is_landmark", "parameters": {"binary_data": False}}]
    more = {"outputs": outputs, "parameters": {"binary_data_output": True, "top_k": 1}}
    answer = v2(client, [tensor_of(TEXT)], **more)
    end = int(answer.headers["inference-header-content-length"])
    group, is_landmark = json.loads(answer.content[:end])["outputs"]
    assert group["parameters"] == {"binary_data_size": 4} and is_landmark["data"] == [True]


def test_the_field_example_is_read(make, shared):
    client, _ = make()
    data = (shared / "field/oip_base64/photo.jpg").read_bytes()
    for text in (base64.encodebytes(data).decode(), {"b64": base64.b64encode(data).decode()}):
        assert v2(client, [tensor_of(text)]).status_code == 200
