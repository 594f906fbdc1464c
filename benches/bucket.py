"""A bucket of a SeaweedFS, which is started here, and plain requests to it.

There is no client library in between: what is measured beside transload shall be the store.
"""

import concurrent.futures
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as xml

# As transload does: parts of this size, and so many of them on their way at the same time.
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 8
NAME = "bench"


@contextlib.contextmanager
def served(folder):
    """A server with an empty bucket, for as long as the block lasts. It is found by the environment."""
    script = pathlib.Path(__file__).resolve().parent.parent / "tests" / "s3_server.py"
    weed = pathlib.Path(sys.executable).with_name("weed")
    server = subprocess.Popen(
        [sys.executable, script, weed, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        said = json.loads(server.stdout.readline())
        os.environ.update(
            AWS_ENDPOINT_URL=said["endpoint"],
            AWS_ACCESS_KEY_ID=said["key"],
            AWS_SECRET_ACCESS_KEY=said["secret"],
            AWS_REGION="us-east-1",
            AWS_ALLOW_HTTP="true",
            NO_PROXY="127.0.0.1",
        )
        Bucket().request("PUT", "")
        yield
    finally:
        server.stdin.close()
        server.wait()


def copy(folder, prefix):
    """Puts every file below a folder."""
    store = Bucket()
    files = [file for file in pathlib.Path(folder).rglob("*") if file.is_file()]
    put = lambda file: store.request("PUT", f"{prefix}/{file.relative_to(folder)}", body=file.read_bytes())
    store.each(put, files)


class Bucket:
    """The bucket of the server that the environment names."""

    def __init__(self):
        self.host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
        self.connections = threading.local()

    def request(self, method, key, query=None, body=b""):
        """Sends a request, and returns the headers and the body of the answer. Each thread has a connection."""
        if not hasattr(self.connections, "one"):
            self.connections.one = http.client.HTTPConnection(self.host, timeout=120)
        connection = self.connections.one
        path = "/" + urllib.parse.quote(f"{NAME}/{key}" if key else NAME)
        pairs = sorted((query or {}).items())
        query = "&".join(f"{name}={urllib.parse.quote(str(value), safe='')}" for name, value in pairs)
        connection.request(method, f"{path}?{query}", body, self.signed(method, path, query))
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {key}: {answer.status} {content[:300]}")
        return answer.headers, content

    def signed(self, method, path, query):
        """The headers of a request with Amazon's signature, version 4, which leaves the body out."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = {"host": self.host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": moment}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = "\n".join([method, path, query, lines, names, "UNSIGNED-PAYLOAD"])
        scope = [moment[:8], os.environ["AWS_REGION"], "s3", "aws4_request"]
        key = b"AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"].encode()
        for word in scope:
            key = hmac.digest(key, word.encode(), "sha256")
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", moment, "/".join(scope), digest])
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = "/".join([os.environ["AWS_ACCESS_KEY_ID"], *scope])
        said = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return {**headers, "authorization": said}

    def objects(self, prefix):
        """The names and sizes of all objects below a prefix."""
        found, query = [], {"list-type": 2, "prefix": prefix}
        while True:
            page = xml.fromstring(self.request("GET", "", query)[1])
            space = page.tag.removesuffix("ListBucketResult")
            for entry in page.iter(f"{space}Contents"):
                found.append((entry.find(f"{space}Key").text, int(entry.find(f"{space}Size").text)))
            token = page.find(f"{space}NextContinuationToken")
            if token is None:
                return found
            query["continuation-token"] = token.text

    def clear(self, prefix):
        self.each(lambda found: self.request("DELETE", found[0]), self.objects(prefix))

    def put_in_parts(self, folder, prefix):
        """Puts every file below a folder as transload does: in parts, some of them at the same time."""
        files = sorted(file for file in pathlib.Path(folder).rglob("*") if file.is_file())
        parts = [
            (f"{prefix}/{file.relative_to(folder)}", file, start)
            for file in files
            for start in range(0, max(1, file.stat().st_size), PART_BYTES)
        ]
        uploads = {key: self.begin(key) for key in dict.fromkeys(key for key, _, _ in parts)}

        def send(part):
            key, file, start = part
            with open(file, "rb") as content:
                content.seek(start)
                query = {"partNumber": start // PART_BYTES + 1, "uploadId": uploads[key]}
                return self.request("PUT", key, query, content.read(PART_BYTES))[0]["ETag"]

        marks = {}
        for (key, _, _), mark in zip(parts, self.each(send, parts, PARTS_AT_ONCE)):
            marks.setdefault(key, []).append(mark)
        self.each(lambda key: self.complete(key, uploads[key], marks[key]), uploads, PARTS_AT_ONCE)

    def begin(self, key):
        page = xml.fromstring(self.request("POST", key, {"uploads": ""})[1])
        return next(entry.text for entry in page if entry.tag.endswith("UploadId"))

    def complete(self, key, upload, marks):
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{mark}</ETag></Part>" for number, mark in enumerate(marks, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = self.request("POST", key, {"uploadId": upload}, body)[1]
        if b"<Error>" in answer:
            raise RuntimeError(f"{key}: {answer[:300]}")

    @staticmethod
    def each(work, things, at_once=16):
        with concurrent.futures.ThreadPoolExecutor(at_once) as threads:
            return list(threads.map(work, things))
