import hashlib

import pytest

from landmark_ray.data.md5_files import md5_for

MD5 = hashlib.md5(b"any tar").hexdigest()
OTHER = hashlib.md5(b"another").hexdigest()
NAME = "images_007.tar"

FORMS = {
    "GNU": f"{MD5}  {NAME}\n",
    "GNU, binary": f"{MD5} *{NAME}\n",
    "GNU, a name with a backslash": f"\\{MD5}  dir\\\\{NAME}\n",
    "BSD": f"MD5 ({NAME}) = {MD5}\n",
    "BSD, a path": f"MD5 (/data/train/{NAME}) = {MD5}\n",
    "OpenSSL": f"MD5({NAME})= {MD5}\n",
    "bare": MD5,
    "capitals, CRLF": f"{MD5.upper()}  {NAME}\r\n",
    "of another name, alone": f"{MD5}  renamed.tar\n",
    "a heading": f"# checksums of {NAME}\n\n{MD5}\n",
    "several": f"{OTHER}  images_006.tar\n{MD5}  ./{NAME}\n{OTHER}  {NAME}.gz\n",
    "several of BSD": f"MD5 (images_006.tar) = {OTHER}\nMD5 ({NAME}) = {MD5}\n",
    "beside others": f"SHA256 ({NAME}) = {'a' * 64}\nMD5 ({NAME}) = {MD5}\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_md5_is_found_wherever_it_stands(form, encoding):
    assert md5_for(FORMS[form].encode(encoding), NAME) == MD5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 999,
        b"MD5 (images_007.tar) = \n",
        f"{'a' * 64}  {NAME}\n".encode(),
        f"{MD5[:-1]}  {NAME}\n".encode(),
        f"{MD5}  a.tar\n{OTHER}  b.tar\n".encode(),
        f"{MD5}  {NAME}\n{OTHER}  {NAME}\n".encode(),
    ],
)
def test_a_file_that_says_none_or_several_says_nothing(data):
    assert md5_for(data, NAME) is None
