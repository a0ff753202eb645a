"""Package lists: the authors' allow list, which is BigCodeBench's list of libraries, and a control that shares nothing with it.

arXiv:2502.11460's released filter allows 139 root modules. They are the root modules of BigCodeBench's `libs` field in the order of
their first appearance (checked where the benchmark's file is there: claim E5.list), so the corpus is chosen by the APIs of the test.

Source: arXiv:2502.11460 and arXiv:2406.15877; the control list is ours.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

_AUTHORS = """
    random itertools collections string statistics numpy math re os operator csv pandas matplotlib seaborn subprocess datetime json
    ftplib configparser shutil glob psutil time zipfile ast platform base64 hashlib zlib cryptography requests sklearn nltk bs4 functools
    wordcloud scipy pytz regex wikipedia sqlite3 socket django binascii io logging flask flask_restful flask_login flask_wtf wtforms
    werkzeug flask_mail statsmodels ipaddress threading mimetypes urllib gzip struct holidays PIL skimage uuid folium geopy shapely
    geopandas smtplib heapq bisect multiprocessing cv2 turtle librosa soundfile http cgi email sympy mpl_toolkits mechanize tensorflow
    dateutil ssl python_http_client sendgrid sys pathlib queue hmac blake3 signal cmath docx openpyxl texttable textblob natsort
    unicodedata codecs keras pickle decimal enum xmltodict faker calendar xlwt rsa difflib secrets importlib pkgutil prettytable ctypes
    types inspect Crypto pyquery array typing gensim fnmatch yaml html textwrap tarfile errno Levenshtein warnings wordninja lxml xml
    pytesseract chardet select getpass shlex
"""
# Standard-library roots that BigCodeBench never imports, so that the two corpora can be told apart by their packages alone.
_CONTROL = """
    abc argparse asyncio atexit bz2 cmd colorsys contextlib contextvars copy copyreg dataclasses dbm dis doctest filecmp fileinput
    fractions gc getopt gettext graphlib keyword linecache locale lzma mailbox marshal mmap numbers opcode optparse pickletools plistlib
    pprint pstats quopri reprlib sched selectors shelve stat stringprep symtable sysconfig tempfile timeit token tokenize tomllib trace
    traceback tracemalloc unittest wave weakref webbrowser wsgiref xmlrpc zipapp zipimport zoneinfo posixpath ntpath
"""
AUTHORS, CONTROL = tuple(_AUTHORS.split()), tuple(_CONTROL.split())
LISTS: Mapping[str, tuple[str, ...]] = {"authors": AUTHORS, "control": CONTROL}


def bigcodebench_roots(libs: Iterable[str]) -> list[str]:
    """Return the root modules of BigCodeBench's `libs` fields (Python lists as text) in the order of their first appearance."""
    roots = [name.split(".")[0] for text in libs for name in ast.literal_eval(text)]
    return list(dict.fromkeys(roots))
