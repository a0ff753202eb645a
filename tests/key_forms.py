"""Keys of vendors' shapes, every writing of one that a reply may hold, and a search for what is left of one, by means of its own."""

import base64
import html
import io
import json
import random
import re
import string
from urllib.parse import quote

import pandas as pd

LETTERS = string.ascii_letters + string.digits
SHAPES = {  # beginning, how many random characters, of which alphabet
    "openai": ("sk-proj-", 48, LETTERS + "-_"),
    "anthropic": ("sk-ant-api03-", 40, LETTERS + "-_"),
    "hub": ("hf_", 34, LETTERS),
    "aws": ("", 40, LETTERS + "+/"),
    "hex": ("", 32, "0123456789abcdef"),
    "password": ("", 14, LETTERS + "!#$&()*,;<=>?[]^{|}~%'\""),
    "short": ("", 8, LETTERS),
}


def a_key(shape, seed):
    """Return a key and its random part."""
    begin, size, alphabet = SHAPES[shape]
    secret = "".join(random.Random(f"{shape} {seed}").choices(alphabet, k=size))
    return begin + secret, secret


def writings(key):
    """Return every writing of a key, by name."""
    data = key.encode()
    every = "".join(f"%{byte:02X}" for byte in data)
    plain = base64.b64encode(data).decode()
    return {
        "exact": key, "upper": key.upper(), "lower": key.lower(),
        "percent": quote(key, safe=""), "percent of all": every, "percent twice": quote(every, safe=""), "percent, small": every.lower(),
        "json": json.dumps(key), "unicode": "".join(f"\\u{ord(c):04x}" for c in key),
        "json of unicode": json.dumps("".join(f"\\u{ord(c):04X}" for c in key)),
        "x": "".join(f"\\x{ord(c):02x}" for c in key), "braced": "".join(f"\\u{{{ord(c):x}}}" for c in key),
        "html": html.escape(key), "html decimal": "".join(f"&#{ord(c)};" for c in key), "html hex": "".join(f"&#x{ord(c):X};" for c in key),
        "base64": plain, "base64 in a url": base64.urlsafe_b64encode(data).decode(),
        "basic": "Basic " + base64.b64encode(b"user:" + data).decode(),
        "base64 of more": base64.b64encode(b"a " + data + b" and more").decode(),
        "base64 of even more": base64.b64encode(b"abcd" + data + b"xy").decode(),
        "base64 in lines": "\n".join(plain[i : i + 11] for i in range(0, len(plain), 11)), "base64 in percent": quote(plain, safe=""),
        "hexadecimal": data.hex(), "HEXADECIMAL": data.hex().upper(), "hexadecimal, spaced": data.hex(" "),
        "spaced": " ".join(key), "in lines": "\n".join(key[i : i + 5] for i in range(0, len(key), 5)), "no width": "\u200b".join(key),
        "windows lines": "\r\n".join(key[i : i + 3] for i in range(0, len(key), 3)), "nulls": "\0".join(key), "bearer": f"Bearer {key}",
        "in a url": f"https://user:{quote(key, safe='')}@host/x", "in a query": f"https://host/x?api_key={quote(key, safe='')}&a=1",
    }  # fmt: skip


def remnants(key, secret):
    """Return what vendors and accidents leave of a key of more than twelve random characters."""
    return {
        "ends": f"{key[: len(key) - len(secret) + 3]}...{key[-4:]}", "stars": f"{key[: len(key) - len(secret) + 4]}{'*' * 20}",
        "last four": f"****{key[-4:]}", "dots": f"{key[:-len(secret)]}…{key[-5:]}", "x": f"XXXXXXXX{key[-6:]}",
        "brackets": f"[...]{key[-5:]}",
        "beginning": secret[:13], "end": secret[-13:], "middle": secret[1:14],
        "cut in base64": base64.b64encode(secret.encode()).decode()[:19],
        "cut in percent": "".join(f"%{ord(c):02x}" for c in secret[:13]), "cut in hex": secret[:13].encode().hex(), "cut": key[:-1],
    }  # fmt: skip


def leaks(data, key, secret):
    """Return what of a key is left in bytes: a run of twelve of its random characters (all of fewer), in any of the writings."""
    text = pd.read_parquet(io.BytesIO(data)).to_csv() if data[:4] == b"PAR1" else data.decode("utf-8", "replace")
    flat = re.sub(r"[\s\0\u200b]|\\[nrt0]|\\u200b|\\u0000", "", text).lower()
    flats = {flat, flat.replace("\\\\", "\\"), html.unescape(flat), flat.replace("\\/", "/"), flat.replace("-", "+").replace("_", "/")}
    found = []
    for name, writing in {**writings(secret), "swapped": base64.b64encode(secret.encode()).decode()}.items():
        if name in ("basic", "bearer", "in a url", "in a query", "base64 of more", "base64 of even more"):
            continue  # those hold one of the others, or an inner part that is looked for below
        writing = re.sub(r"[\s\0\u200b]", "", writing).strip('"').lower()
        size = -(-len(writing) * min(12, len(secret)) // len(secret))
        if any(writing[at : at + size] in where for at in range(len(writing) - size + 1) for where in flats):
            found.append(name)
    for shift in range(3):
        inner = base64.b64encode(b"." * shift + secret.encode()).decode()[4 if shift else 0 : -4].lower()
        inner = inner if len(inner) >= 5 else "\0none"
        size = min(16, len(inner))
        runs = [inner[at : at + size].replace("-", "+").replace("_", "/") for at in range(len(inner) - size + 1)]
        if any(run in where for run in runs for where in flats):
            found.append(f"base64 at {shift}")
    if len(secret) > 12:
        found += [mask for mask in ("***", "...", "…", "xxxx") if mask + key[-4:].lower() in flat]
    return found


def files_with(folder, key, secret):
    """Return the files under a folder that hold something of a key, in their name or bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    names = "\n".join(str(path.relative_to(folder)) for path in files)
    told = {"the names": names.encode(), **{str(path): path.read_bytes() for path in files}}
    return {name: left for name, data in told.items() if (left := leaks(data, key, secret))}
