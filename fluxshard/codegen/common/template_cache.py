"""Templates as bytecode in the kernel cache: compiling them anew takes longer than rendering them."""

from __future__ import annotations

import hashlib
import marshal
import sys
from contextlib import suppress
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket

from fluxshard.codegen.common.cache import cache_root
from fluxshard.files import write_whole

FOLDER = ".templates"
_DIGEST_BYTES = 32


class TemplateCache(jinja2.BytecodeCache):
    """One file per template, named by all that decides its bytecode. Anything wrong with one makes it a miss."""

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fills the bucket where the cache has its template."""
        try:
            content = _path(bucket).read_bytes()
        except OSError:
            return
        digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if digest == hashlib.sha256(code).digest():
            with suppress(EOFError, ValueError, TypeError):
                bucket.code = marshal.loads(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keeps a template's bytecode, where the cache can be written."""
        code = marshal.dumps(bucket.code)
        path = _path(bucket)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, hashlib.sha256(code).digest() + code)


def _path(bucket: Bucket) -> Path:
    made_by = (sys.version, jinja2.__version__, bucket.key, bucket.checksum)
    return cache_root() / FOLDER / hashlib.sha256("\n".join(made_by).encode()).hexdigest()[:32]
