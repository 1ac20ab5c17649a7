"""A process with many readers of one key, for tests: `cache_reader PORT PASSWORD_FILE READERS LOADS_FILE KEY`.

Says `ready` when its readers may begin, waits for a line, and then says how many had the right answer.
"""

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from atoll.cache import Caches, Policy, TierPolicy, Tiers, ValkeyCacheStore, of
from atoll.clock import SystemClock
from atoll.stores import open_store
from atoll.topology.wiring import Address, StoreAccess


async def main(port: int, password_file: Path, readers: int, loads: Path, key: str) -> None:
    client = open_store(StoreAccess(None, Address("127.0.0.1", port), password_file))
    # The store's bound is out of the way: on a machine with other work a slow answer would be a load.
    caches = Caches(Tiers(ValkeyCacheStore(client), SystemClock(), Random(), TierPolicy(store_wait_s=5.0)))

    async def loader(key: str) -> bytes:
        with loads.open("a") as file:
            file.write(f"{os.getpid()}\n")
        await asyncio.sleep(0.3)
        return b"value of " + key.encode()

    cached = of("herd", loader, Policy(early=0, load_s=10), caches=lambda: caches)
    await client.ping()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    answers = await asyncio.gather(*(cached.get(key) for _ in range(readers)))
    print(answers.count(b"value of " + key.encode()), flush=True)
    await caches.close()
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5]))
