"""Reads the offline record of a W&B run: LevelDB's log format with W&B's header, records as protocol buffers."""

from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32 * 1024, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read(folder: Path) -> list[Record]:
    """All records of the one run whose files lie below a folder."""
    (file,) = folder.glob("**/run-*.wandb")
    data, place, records, whole = file.read_bytes(), HEADER, [], b""
    assert data[:4] == b":W&B"
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + HEADER : place + HEADER + size]
        place += HEADER + size
        if kind in (FULL, LAST):
            records.append(Record.FromString(whole))
            whole = b""
    return records
