"""The check of a version's content, in a process of its own: a hostile file can exhaust or crash that one alone.

Run as `python -m collabspace.broker.inspection FOLDER MEMORY_BYTES` with the manifest on stdin; answers JSON on stdout.
"""

import asyncio
import json
import os
import resource
import sys
from http import HTTPStatus
from pathlib import Path

from collabspace.api.manifest import Manifest
from collabspace.broker.refusal import Refused, Undecided

CHECK_SECONDS = 600.0
MAX_ANSWER_BYTES = 64 << 10
CHECKS_AT_ONCE = 2


class Inspector:
    """At most two checks run at once; each in a fresh process with bounded memory, time and environment."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory = memory_bytes
        self._places = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def check(self, folder: Path, manifest: Manifest) -> None:
        """Returns when the files are what the manifest and its format say. Raises Refused with what is wrong.

        A check that crashed is tried once more: a file that breaks its reader does so again, bad luck does not.
        """
        code, answer = await self._run(folder, manifest)
        if _crashed(code, answer):
            code, answer = await self._run(folder, manifest)
        _judge(code, answer)

    async def _run(self, folder: Path, manifest: Manifest) -> tuple[int | None, bytes]:
        async with self._places:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "collabspace.broker.inspection", str(folder), str(self._memory),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env={name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ},
            )  # fmt: skip
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    answer, _ = await process.communicate(manifest.canonical())
            except TimeoutError:
                raise _refused(f"the check took longer than {CHECK_SECONDS:.0f} s; push smaller files") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        return process.returncode, answer


def _crashed(code: int | None, answer: bytes) -> bool:
    """Whether the process ended in a way of its own; an uncaught exception ends it with 1 as well, but says nothing."""
    return code not in (0, 1, 2) or (code == 1 and not answer)


def _judge(code: int | None, answer: bytes) -> None:
    if code == 0:
        return
    if code == 1 and 0 < len(answer) <= MAX_ANSWER_BYTES:
        raise _refused(str(json.loads(answer)["message"]))
    if code == 2:
        raise Undecided("CheckFailed", "the check of the version could not run; try again soon")
    raise _refused("the check ended early: the files need more memory to read than a check gets, or break their reader")


def _refused(message: str) -> Refused:
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "FormatError", message)


def main() -> None:
    """The process itself. Exit status: 0 good, 1 refused with a message, 2 no check possible, anything else crashed."""
    try:
        folder, memory = Path(sys.argv[1]), int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from collabspace import formats

        manifest = Manifest.model_validate_json(sys.stdin.buffer.read())
    except (ImportError, IndexError, ValueError) as error:
        raise SystemExit(2) from error
    try:
        formats.check(folder, manifest)
    except formats.FormatError as error:
        sys.stdout.write(json.dumps({"message": str(error)[:4096]}))
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
